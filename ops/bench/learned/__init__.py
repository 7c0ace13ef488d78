"""Benches of what a learned model is worth, and of what its answers cost."""
