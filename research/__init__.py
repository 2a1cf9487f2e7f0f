"""Training and validation of models. It imports the engine and is never imported by it."""
