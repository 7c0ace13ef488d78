"""Finding the record that our code fails on, and telling it from a fault that every payment meets."""
