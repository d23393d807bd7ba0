"""Learned state on disk: generations, and the journal of labels that came since."""
