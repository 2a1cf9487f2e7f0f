"""A local venue that speaks Alpaca's protocol: REST, data streams and order updates on one loopback port.

It stands in for the service where there is no network: fed by any tape, with the matching engine of the paper broker,
its own book, and faults on demand. What is not known about the real service is an option in `settings`, with the
default stated in `docs/alpaca.md`. Nothing here knows the engine's corridor.
"""
