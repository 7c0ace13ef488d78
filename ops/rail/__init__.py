"""A payment rail as a process of its own, against which the executor runs.

It pays once for each idempotency key, keeps books that it can be asked about, and misbehaves as real rails do when it
is told to.
"""
