"""The private network of the machines, its NFS server and its way out."""
