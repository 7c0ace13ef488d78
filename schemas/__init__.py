"""Avro schemas, one file per topic value."""
