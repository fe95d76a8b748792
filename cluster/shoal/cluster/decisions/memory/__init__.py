"""Which messages a process keeps in memory."""
