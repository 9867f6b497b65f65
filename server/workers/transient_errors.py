"""Which failures of a tool are the cloud's bad moment: the same order may be carried out in the next.

Owns the texts that say so and that ``causes`` does not know as a trouble of the cloud: those of OpenStack's official provider
(gophercloud), which repeats a request only where it got no connection, or 429 with ``Retry-After``. Pure.
"""

import re

from server.errors import CloudError, CumulusError
from server.reasons import Reason
from server.workers.terraform.process import TerraformError

_BLANKS = re.compile(r"[\s│╷╵]+")
_BUSY = re.compile(r"but got (?:408|429|498|500|502|503|504) instead|internal server error|request time-?out")
_GONE = re.compile(r"openstack connection error, retries exhausted|: eof(?:\s|$)|server closed idle connection|broken pipe")


def passing(error: CumulusError) -> Reason | None:
    """What kind of a bad moment the failure was; None where it was none, or was not the cloud's."""
    if not isinstance(error, TerraformError):
        return None
    for text in (error.message, error.output):
        plain = _BLANKS.sub(" ", text).lower()
        if _BUSY.search(plain):
            return Reason.CLOUD_BUSY
        if _GONE.search(plain):
            return Reason.CLOUD_UNREACHABLE
    return None


def is_of_the_cloud(error: CumulusError) -> bool:
    """Whether the cloud, or Terraform for it, has failed: what ssh or Ansible say of a machine is another matter."""
    return isinstance(error, TerraformError | CloudError)
