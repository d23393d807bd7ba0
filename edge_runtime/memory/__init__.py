"""What has been learned: labelled exemplars, and statistics of those that had to go."""
