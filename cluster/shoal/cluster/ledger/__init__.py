"""The ledger: the SQL database of collections, documents, versions and durable files; the only state that must not be lost.

`reader.LedgerReader` is for anyone; `writer.LedgerWriter` and `progress.LedgerProgress` are for the coordinator that holds
the lease. What a write means is decided in `shoal.cluster.decisions.admission`, not here.
"""
