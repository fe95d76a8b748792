"""What the gateway does for a request, one use case per module; no transport."""
