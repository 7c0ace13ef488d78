"""No fault makes a decision more permissive (I4): the whole path in one process, under every fault at every seam."""
