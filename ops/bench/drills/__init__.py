"""All drills on the real stack."""
