"""Examples that are also products: each is short, tested and told in the docs."""
