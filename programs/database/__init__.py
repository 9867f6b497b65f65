"""SQLite in both programs: connections, and the guard that notices a lost file."""
