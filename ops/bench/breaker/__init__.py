"""The breaker against simulated traffic: false trips, times to detect, and each finding as a case."""
