"""What a failed play means to a person, in a sentence or two."""

from collections.abc import Mapping
from typing import Any


def explain_failure(failure: Mapping[str, Any], output: str) -> str:
    """In a sentence or two, from what a failed task returned, or else from the end of Ansible's output."""
    said = (
        _last(str(failure.get("stderr") or ""))
        or _last(str(failure.get("stdout") or ""))
        or str(failure.get("msg") or "").strip()
    )
    if "unreachable" in failure:
        return _explain_unreachable(said)
    if failure:
        return said or f"exit code {failure.get('rc', 'unknown')}"
    return _last(output) or "Ansible ended without a word"


def _explain_unreachable(said: str) -> str:
    said = said.removeprefix("Failed to connect to the host via ssh:").strip() or "no connection"
    if "Host key verification failed" in said or "HOST IDENTIFICATION HAS CHANGED" in said:
        return f"the machine's host key is not the one it was made with: {said}"
    if "Permission denied" in said:
        return f"the machine does not let the controller in: {said}"
    return f"the machine does not answer: {said}"


def _last(text: str, lines: int = 3) -> str:
    return "\n".join([line.strip() for line in text.splitlines() if line.strip()][-lines:])
