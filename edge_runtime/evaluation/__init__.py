"""What a learner was worth on a stream: runs, their records, and their numbers."""
