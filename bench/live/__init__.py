"""The live path measured against the local venue: our daemon, a plain alpaca-py application and a minimal script."""
