"""Bytes that host and board agree on: the wire and model packs."""
