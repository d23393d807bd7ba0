"""Real data for the demo, the examples and the benchmarks, each set by package, checked by its SHA-256.

Nothing here is part of the installed distribution, and no data is part of the repository.
"""
