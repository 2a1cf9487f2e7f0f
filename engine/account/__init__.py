"""Our books against what the broker says: at the start, in between, and after each session."""
