"""The files in the storage that outlive the database (manifest, record, ledger), and rebuilding the rows from them."""
