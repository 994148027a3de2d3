"""All of HTTP: decode, call the verifier, encode. No rule of a verification lives here."""
