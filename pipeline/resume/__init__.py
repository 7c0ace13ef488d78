"""Going on where deciding stopped, whatever became of the group's committed offsets."""
