"""What to do: states, drift, label requests, trials. It sees answers, never features."""
