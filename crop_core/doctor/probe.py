"""A small photo whose detections are known: samples/astronaut.jpg at 128x128, a person with a face."""

from importlib.resources import files

PROBE = "probe.jpg"
PROBE_LABELS = {"person", "face"}  # what is found in it with a confidence above 0.6


def probe() -> bytes:
    """Return the photo, a JPEG."""
    return files(__package__).joinpath(PROBE).read_bytes()
