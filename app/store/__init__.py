"""All of Redis: keys, scripts, connections, the embedded server."""
