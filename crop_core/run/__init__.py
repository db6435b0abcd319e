"""How work is run: processes, threads, memory. Knows no pictures."""
