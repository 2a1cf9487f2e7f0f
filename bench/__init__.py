"""Side-by-side and micro benchmarks; `onetape bench` prints the table that the README quotes."""
