"""The form of these tables.

Each text is a regular expression. It is searched for in lower-case output where each run of blanks and of Terraform's frames is
one blank. None has an unbounded repetition, so that the time is linear in the length of what a tool printed.
"""

from collections.abc import Mapping

from server.reasons import Reason

ErrorTexts = Mapping[Reason, tuple[str, ...]]
