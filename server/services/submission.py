"""What a client sends to start a job, checked field by field before anything is stored."""

import re
from collections.abc import Mapping
from typing import Any

from server.catalog.controls.control import quoted
from server.catalog.files import FileList
from server.catalog.model import App
from server.catalog.values import answers
from server.errors import InvalidInput

MAX_DESCRIPTION = 10_000
MAX_WORKFLOW_NAME = 200
# The client puts the names of files that are on their way into its page as they are; a < before anything else is a < there, too.
MARKUP = re.compile(r"<[A-Za-z/!?]")
# The client puts an owner into its page as it is, so nothing that could be markup; a login of any system fits.
_OWNER = re.compile(r"[\w@+][\w@+. -]{0,63}")


def require_owner(owner: str) -> str:
    """A login name as operating systems give them. Raises InvalidInput."""
    if not _OWNER.fullmatch(owner):
        raise InvalidInput(
            "the user's name is missing or has characters other than letters, digits and @ + . _ -", field="username"
        )
    return owner


def require_description(text: str) -> str:
    """A person's remark about the job. Raises InvalidInput."""
    if len(text) > MAX_DESCRIPTION:
        raise InvalidInput(f"the description is longer than {MAX_DESCRIPTION} characters", field="description")
    return text.replace("\0", "")


def require_workflow(name: str) -> str:
    """What a client calls the workflow that a job is a step of; "" for none. Raises InvalidInput."""
    if len(name) > MAX_WORKFLOW_NAME or any(not char.isprintable() or char in "<>&" for char in name):
        raise InvalidInput(
            f"the workflow's name is longer than {MAX_WORKFLOW_NAME} characters, or has < > & or control characters",
            field="workflow_name",
        )
    return name


def require_harmless_paths(app: App, settings: Mapping[str, Any]) -> None:
    """Raises InvalidInput for a file whose path a client would take for markup where it shows it."""
    for answer in answers(app, settings):
        if isinstance(answer.control, FileList):
            given = settings[answer.control.name]
            for path in [given] if isinstance(given, str) else given:
                if MARKUP.search(path):
                    answer.control.refuse(f"has {quoted(path)}, which a client would take for markup")


def parse_number(text: str, field: str) -> int | None:
    """A job's number, None for "". Raises InvalidInput."""
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise InvalidInput(f"{text[:40]!r} is not a job's number", field=field)
    return int(text)
