"""The coordinator, the ledger's only writer: it admits writes, keeps workers and shards up, and embeds what is pending."""
