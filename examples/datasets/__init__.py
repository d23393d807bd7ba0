"""Real data for demo, examples and benchmarks: each set by package, checked by its SHA-256.

Nothing here is part of the installed distribution, and no data is part of the repository.
"""
