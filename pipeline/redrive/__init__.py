"""Deciding again, once, what became a dead letter by a fault of ours."""
