"""Who asks: over the controller's Unix socket, by the word of the kernel. Over TCP nobody is known yet."""

import os

from flask import Request

from programs.errors import user_name
from programs.http.unix_door import PEER_UID
from server.errors import CumulusError
from server.services.principal import Principal


class Unauthenticated(CumulusError):
    """It is not known who asks."""

    code = "unauthenticated"
    http_status = 401


def identify(request: Request) -> Principal:
    """The principal of a request. Root and who runs the controller look after it. Raises Unauthenticated."""
    uid = request.environ.get(PEER_UID)
    if uid is None:
        raise Unauthenticated("this takes the controller's Unix socket, which `cumulus` uses on the controller's computer")
    name = user_name(uid)
    return Principal.local_admin(name) if uid in (0, os.geteuid()) else Principal.local_user(name)
