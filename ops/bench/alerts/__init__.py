"""The delivery of alerts through sinks that misbehave."""
