"""What operators see: logs now; each is an observer of the core's events."""
