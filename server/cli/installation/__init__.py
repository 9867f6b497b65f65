"""Commands for who runs an installation: the controller, the computer, the database, the storage, a former server."""
