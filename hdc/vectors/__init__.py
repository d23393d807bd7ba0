"""Hypervectors: their algebra, and the projection that makes them."""
