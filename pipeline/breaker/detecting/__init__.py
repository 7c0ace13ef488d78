"""Judging what the model answers: what is usual, how far from it is too far, and for how long."""
