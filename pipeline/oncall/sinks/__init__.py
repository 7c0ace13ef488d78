"""The sinks: what each is told, how, and what its answer means."""
