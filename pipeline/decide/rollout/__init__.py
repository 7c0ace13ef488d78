"""Which model answers a payment while a version is rolled out by shares, and what the policy asks of a promotion."""
