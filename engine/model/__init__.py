"""Models in the corridor: bundles, features, the lane. Empty yet; torch will be imported here and nowhere else."""
