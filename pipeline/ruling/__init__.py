"""Rulings: two people say what the rail did where it can't any more, and account for a line of its statement."""
