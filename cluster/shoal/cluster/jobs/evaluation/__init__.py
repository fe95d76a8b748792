"""`shoal eval` and `shoal similar`."""
