"""Drills: what they are compared with, when they are due, and the records of those that were carried out."""
