"""Drills: something goes wrong on purpose in a lane of its own, and it is measured what becomes of it."""
