"""Ray's session, named actors and environment."""
