"""The shipped weights, their SHA-256 and the one way to load them."""
