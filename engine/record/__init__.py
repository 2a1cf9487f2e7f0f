"""The journal's files, and what a run's record says afterwards: of its venue's line, and beside another run's."""
