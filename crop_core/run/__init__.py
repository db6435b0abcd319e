"""Runs work in processes and threads, within the memory there is. Knows no pictures."""
