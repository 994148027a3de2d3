"""What operators see: logs and metrics; each is an observer of the core's events."""
