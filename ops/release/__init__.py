"""Releases: what a version promises of everything that it wrote, and how later versions are held to it."""
