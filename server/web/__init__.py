"""Pages for a browser. So far the one that a link opens: choose a password, and be logged in."""
