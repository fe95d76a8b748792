"""Who may use the server, as the ledger stores it."""
