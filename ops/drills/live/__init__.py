"""Drills on the live breaker, by two people's consent (ADR 0040)."""
