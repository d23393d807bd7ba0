"""The board's side: two places for packs, self-tests, the serial service. Imports nothing."""
