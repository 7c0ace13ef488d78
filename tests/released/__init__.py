"""What each version promised, a folder a version, and that this one keeps it (ops/release)."""
