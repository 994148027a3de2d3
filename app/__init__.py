"""lastdigits: self-hosted phone verification by flash call."""
