"""A job's files in the storage that outlive the database: manifest, record, ledger; and making the rows again from them."""
