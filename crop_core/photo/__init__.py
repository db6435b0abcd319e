"""Turns a picture file's bytes into upright pixels. Knows no detections and no requests."""
