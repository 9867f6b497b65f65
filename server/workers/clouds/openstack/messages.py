"""Why a volume is in error, in Cinder's own words: a volume shows its state only, the reason is in Cinder's messages."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openstack.connection import Connection

FILTERED_SINCE = "3.5"  # the version of Cinder's API in which messages can be asked for by the volume
ERROR = "error"


def volume_fault(cloud: "Connection", volume: Any) -> str:
    """What Cinder says of a volume in error, the newest first; "" where the volume is well, or Cinder tells nothing."""
    if not str(volume.status).startswith(ERROR):
        return ""
    from openstack.exceptions import SDKException

    with suppress(SDKException):  # it is asked beside another failure, and must not hide it; a policy may forbid it
        return "\n".join(dict.fromkeys(_messages(cloud, str(volume.id))))
    return ""


def _messages(cloud: "Connection", identifier: str) -> Iterator[str]:
    from openstack.exceptions import raise_from_response

    query = {"resource_uuid": identifier}
    answer = cloud.block_storage.get("/messages", params=query, microversion=FILTERED_SINCE)
    raise_from_response(answer)
    for one in answer.json().get("messages", []):
        if one.get("resource_uuid") == identifier and one.get("message_level", "ERROR") == "ERROR":
            yield f"Cinder: {one.get('user_message', '')}"
