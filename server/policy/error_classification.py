"""What the output of Terraform, its providers, ssh and the runner on a worker means for a job.

Finds the reason by the texts in ``error_texts``, a module for each tool or cloud. Pure; does not decide what becomes of the job
(a reason's own policy does).
"""

import re

from server.errors import CloudError, CumulusError, TemplateMissing
from server.policy.error_texts import machine, openstack, qemu, system, terraform
from server.reasons import Reason

_BLANKS = re.compile(r"[\s│╷╵]+")
_ESCAPES = re.compile(r"\x1b\[[0-9;]{0,20}m")

# The first reason that is found decides: a text that another failure mentions in passing stands behind it.
_ORDER = (
    Reason.TERRAFORM_STATE_UNREADABLE,
    Reason.HOST_KEY_CHANGED,
    Reason.QUOTA_EXCEEDED,
    Reason.NETWORK_EXHAUSTED,
    Reason.FLAVOR_TOO_SMALL,
    Reason.FLAVOR_UNKNOWN_TO_CLOUD,
    Reason.NAME_AMBIGUOUS,
    Reason.NETWORK_MISSING,
    Reason.SECURITY_GROUP_MISSING,
    Reason.ZONE_UNUSABLE,
    Reason.NAME_UNKNOWN_TO_CLOUD,
    Reason.SNAPSHOT_MISSING,
    Reason.MACHINE_DISK_FULL,
    Reason.CONTROLLER_DISK_FULL,
    Reason.VOLUME_STORAGE_FULL,
    Reason.NO_VALID_HOST,
    Reason.NETWORK_FAILED,
    Reason.VOLUME_FAILED,
    Reason.REGION_UNKNOWN,
    Reason.CLOUD_FAILED,
    Reason.STORAGE_NOT_MOUNTED,
    Reason.MACHINE_REFUSES,
    Reason.MACHINE_UNREACHABLE,
    Reason.CLOUD_REFUSED,
    Reason.CLOUD_BUSY,
    Reason.SETUP_INCOMPLETE,
    Reason.CREATION_TIMEOUT,
    Reason.PROVIDER_CRASHED,
    Reason.CLOUD_UNREACHABLE,
    Reason.TERRAFORM_LOCKED,
)
_SOURCES = (openstack.TEXTS, qemu.TEXTS, terraform.TEXTS, machine.TEXTS, system.TEXTS)
_PATTERNS = tuple(
    (reason, re.compile("|".join(text for source in _SOURCES for text in source.get(reason, ())))) for reason in _ORDER
)


def classify(text: str) -> Reason | None:
    """Why a machine could not be made, or an app not be started on it, by what the tools printed; None where that is not known.

    Takes time linear in the text's length.
    """
    plain = _BLANKS.sub(" ", _ESCAPES.sub("", text)).lower()
    return next((reason for reason, pattern in _PATTERNS if pattern.search(plain)), None)


def cause(error: CumulusError, fault: str = "") -> Reason | None:
    """Why a machine could not be made, or an app not be started on it; None where that is not known.

    ``fault``: what the cloud itself says of the machine, "" for nothing. It counts before the tools' output, which may say no
    more than that the machine is in ERROR; and there the first error counts before all others.
    """
    if isinstance(error, CloudError) and error.reason:
        return error.reason
    if isinstance(error, TemplateMissing):
        return Reason.SNAPSHOT_MISSING
    return classify(fault) or classify(error.message) or classify(getattr(error, "output", ""))
