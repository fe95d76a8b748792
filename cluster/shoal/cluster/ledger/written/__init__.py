"""What writes leave in the ledger besides documents: what each of them changed, and where its documents came from."""
