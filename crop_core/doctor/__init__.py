"""Can the model run here, and if not, why."""
