"""Folders, buckets and clusters: `crop-core batch`, on Ray Data.

`sources` says what there is to crop, `ledger` what of it is still to do, `worker` does it on as
many machines as there are, `table` keeps what came of it, `run` composes them. What is heavy to
load (Ray, PyArrow, fsspec: the extra `batch`) is loaded by these modules, not by this one.
"""
