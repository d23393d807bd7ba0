"""Streams of the continual benchmark: what comes, in which order, and who may learn which label."""
