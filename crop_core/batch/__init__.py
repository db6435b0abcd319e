"""Folders, buckets and clusters: `crop-core batch`, on Ray Data.

`sources` lists the pictures, `ledger` knows which are still to do, `worker` crops them on one machine
or many, `table` keeps the results, and `run` puts these together. These modules import Ray, PyArrow
and fsspec (the extra `batch`); this one imports nothing.
"""
