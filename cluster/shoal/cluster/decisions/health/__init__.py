"""Whether ledger, storage and their disks are as they should be."""
