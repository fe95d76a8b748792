"""Who may call what, and the API keys that say so."""
