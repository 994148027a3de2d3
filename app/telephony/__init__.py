"""All of the provider: the client that asks for calls, and its stand-ins."""
