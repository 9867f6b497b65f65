"""Who is asking over HTTP: tokens, sessions, trusted networks; how often somebody may try; what is recorded of it."""
