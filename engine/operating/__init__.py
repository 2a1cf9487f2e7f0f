"""What stands beside a running daemon: its control line, alerts, metrics, and the watchdog that outlives it."""
