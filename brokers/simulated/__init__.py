"""The parts of the simulated venue, put together by `brokers.paper`: each rule of docs/paper_fills.md in one place."""
