"""Outgoing calls of the gateway: encoders, index shards, coordinator, ledger."""
