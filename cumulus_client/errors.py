"""What can go wrong when the API is called: nothing answers, or what answers says no."""

from dataclasses import dataclass


class ApiError(Exception):
    """A call that failed; ``message`` is for a person, ``code`` for a program."""

    code = "api_error"

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code


class Unreachable(ApiError):
    """No controller answers, or what answers is none."""

    code = "unreachable"


@dataclass(frozen=True)
class Problem:
    """A problem as the API reports it (RFC 9457). ``field``: the input at fault, "" where none is; ``hint``: what can be done."""

    status: int
    code: str
    detail: str
    field: str = ""
    hint: str = ""


class Refused(ApiError):
    """The controller said no, in its own words; ``problem`` has all of them."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail, problem.code)
        self.problem = problem
