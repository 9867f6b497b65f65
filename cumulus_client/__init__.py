"""A typed client of Cumulus, and the one definition of what its API takes and gives, which the server imports, too.

Needs nothing of the server: ``pip install ./cumulus_client`` in a checkout. Start with :class:`cumulus_client.Cumulus`.
"""

from cumulus_client.client import Cumulus
from cumulus_client.errors import ApiError, Refused, Unreachable

__all__ = ["ApiError", "Cumulus", "Refused", "Unreachable"]
