"""Errors that a person can act on. Owns the code vocabulary, not the wire formats."""

from programs.errors import Expected
from server.reasons import Reason


class CumulusError(Expected):
    """An expected failure of the controller or its commands. ``http_status``: of the answer where a request has met it."""

    http_status = 400


class InvalidInput(CumulusError):
    """Something that a person or a file gave is not acceptable; ``field`` says which."""

    code = "invalid_input"


class NotFound(CumulusError):
    """What was asked for does not exist, or is not the caller's to see."""

    code = "not_found"
    http_status = 404


def no_job(job_id: int, owner: str = "") -> str:
    """What people read of a job that is not there, or is not the owner's to see."""
    return f"there is no job {job_id} of {owner}" if owner else f"there is no job {job_id}"


class SetupMissing(CumulusError):
    """This computer lacks something that the cloud in use needs; the message says how to get it."""

    code = "setup_missing"
    http_status = 503


class TemplateMissing(SetupMissing):
    """There is no snapshot to make workers from."""

    code = "template_missing"


class InfrastructureError(CumulusError):
    """Terraform, Ansible or the cloud failed: never the user's fault, so worth another attempt."""

    code = "infrastructure"
    http_status = 502


class CloudError(InfrastructureError):
    """The cloud refuses, fails or does not answer; ``reason`` is what that means for a job, None where it is not known."""

    code = "cloud"

    def __init__(self, message: str, reason: Reason | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class StillCopying(CloudError):
    """The machine's disk is still being copied: it is gone on with later."""

    code = "still_copying"

    def __init__(self, message: str) -> None:
        super().__init__(message, Reason.CREATION_TIMEOUT)
