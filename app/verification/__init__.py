"""What the service exists for: the verification, its states and its rules. No web, Redis, HTTP client or settings here."""
