"""Turns a photo and a plan into the crop's pixels and the file's bytes."""
