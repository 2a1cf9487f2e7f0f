"""Tapes: their schema, reading and writing them, and foreign files made into them."""
