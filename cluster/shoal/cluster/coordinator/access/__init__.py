"""Who may use the server: changes of API keys."""
