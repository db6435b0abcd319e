"""From a picture file's bytes to upright pixels. Knows no boxes and no requests."""
