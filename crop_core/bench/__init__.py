"""`crop-core bench`: measures where the time and the memory go.

Machines are noisy. So what is compared runs in turn (A B A B) in one process, and the medians are
compared.
"""
