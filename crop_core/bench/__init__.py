"""`crop-core bench`: where the time and the memory go, beside other croppers in the same run.

Machines are noisy, so what is compared runs in turn (A B A B) in one process, and medians are
what counts.
"""
