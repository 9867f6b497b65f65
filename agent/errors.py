"""Errors that a person can act on."""

from programs.errors import Expected


class AgentError(Expected):
    """An expected failure of the agent."""


class InvalidInput(AgentError):
    """Something that a person or a file gave is not acceptable; ``field`` says which."""

    code = "invalid_input"


class SetupMissing(AgentError):
    """This computer lacks something that the agent needs; the message says how to get it."""

    code = "setup_missing"


class AlreadyRunning(AgentError):
    """A second agent on one home would send the same files."""

    code = "already_running"
