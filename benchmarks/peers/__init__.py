"""What the project is measured against: each peer as its own paper or code describes it."""
