"""What is derived from exemplars and statistics, and may be made anew: the model that answers."""
