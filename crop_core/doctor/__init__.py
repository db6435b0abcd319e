"""Checks whether the model can run here, and if not, why."""
