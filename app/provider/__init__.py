"""The telephony provider: the client that places calls."""
