"""The crop-core command."""
