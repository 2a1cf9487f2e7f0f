"""Feeds and venues: each implements one of the two ports, and knows nothing deeper of the engine."""
