"""Promotion: what a model must have shown before it decides, how it takes over by shares, and how it goes back."""
