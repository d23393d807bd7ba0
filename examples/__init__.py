"""Examples of at most eighty lines each, and the demo; none of it is installed."""
