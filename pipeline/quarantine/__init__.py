"""Putting aside, by two people, a record that nothing can use."""
