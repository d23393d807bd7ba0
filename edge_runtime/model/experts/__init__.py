"""What answers a sample, each in its own way, and how their answers are mixed."""
