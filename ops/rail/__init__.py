"""A payment rail as a process of its own, for running the executor against: it pays once for each idempotency key,
keeps books that it can be asked about, and misbehaves as real ones do when it is told to."""
