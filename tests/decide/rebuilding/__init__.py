"""What a worker watches beside deciding."""
