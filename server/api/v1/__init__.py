"""The API of version 1: what :mod:`cumulus_client` defines, bound to the services."""
