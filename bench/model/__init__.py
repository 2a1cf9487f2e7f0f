"""What a model costs: on a tape, on a live feed, and the shapes by which the field measures inference."""
