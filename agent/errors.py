"""Errors that a person can act on."""


class AgentError(Exception):
    """An expected failure: ``message`` is for a person, ``code`` for a program, ``field`` names the input at fault."""

    code = "error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidInput(AgentError):
    """Something that a person or a file gave is not acceptable; ``field`` says which."""

    code = "invalid_input"


class SetupMissing(AgentError):
    """This computer lacks something that the agent needs; the message says how to get it."""

    code = "setup_missing"


class AlreadyRunning(AgentError):
    """A second agent on one home would send the same files."""

    code = "already_running"
