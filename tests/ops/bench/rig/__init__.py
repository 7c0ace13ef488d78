"""What benches are rigged with."""
