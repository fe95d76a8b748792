"""The two kinds of database that hold a ledger."""
