"""The demo: a real encoder, real digits in five hands, and a board that copes with all of them."""
