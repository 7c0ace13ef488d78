"""Drills on the live breaker."""
