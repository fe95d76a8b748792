"""The control plane: ledger, coordinator, gateway, and the pure decisions that they carry out."""
