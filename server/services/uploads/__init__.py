"""Files that come by HTTP, in parts, into the shared data or for a job that waits for them."""
