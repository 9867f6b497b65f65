"""Errors that a person can act on. Owns the base class and the code vocabulary, not the wire formats."""


class CumulusError(Exception):
    """An expected failure: ``message`` is for a person, ``code`` for a program, ``field`` names the input at fault."""

    code = "error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidInput(CumulusError):
    """Something that a person or a file gave is not acceptable; ``field`` says which."""

    code = "invalid_input"


class NotFound(CumulusError):
    """What was asked for does not exist, or is not the caller's to see."""

    code = "not_found"


class SetupMissing(CumulusError):
    """This computer lacks something that the cloud in use needs; the message says how to get it."""

    code = "setup_missing"


class TemplateMissing(SetupMissing):
    """There is no snapshot to make workers from."""

    code = "template_missing"


class InfrastructureError(CumulusError):
    """Terraform, Ansible or the cloud failed: never the user's fault, so worth another attempt."""

    code = "infrastructure"
