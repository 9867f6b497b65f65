"""What a failed rsync's exit code and words mean. Reads only; failures.py decides what to do.

Exit codes: rsync(1), EXIT VALUES. 255 is ssh's own, 127 a shell's "not found".
"""

import re
from dataclasses import dataclass

from agent.queue.states import FailureKind

MAX_WORDS = 300
_TRANSIENT_CODES = {10, 30, 35}  # socket, time-out, time-out of a daemon's connection
_ENDED_CODES = {11, 12, 13, 14, 19, 20, 21, 22}  # rsync's words say more, if there are any

# In the order in which they are looked for: a lost connection is often what follows from something else, and so comes last.
_WORDS: tuple[tuple[FailureKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile("|".join(patterns), re.IGNORECASE | re.MULTILINE))
    for kind, patterns in (
        (
            FailureKind.HOST_KEY_CHANGED,
            ("remote host identification has changed", "host key verification failed", "no .* host key is known"),
        ),
        (
            FailureKind.LOGIN_REFUSED,
            (
                r"permission denied \((?:publickey|password|keyboard)",
                "too many authentication failures",
                "@ERROR: auth",
                "load key .*(?:permission|invalid|no such file)",
                "unprotected private key",
            ),
        ),
        (FailureKind.TARGET_FULL, ("no space left on device", "disk quota exceeded")),
        (
            FailureKind.SOURCE_UNREADABLE,
            ("send_files failed to open", "opendir .* failed", "link_stat .* failed", "read errors mapping"),
        ),
        (FailureKind.SOURCE_CHANGED, ("file has vanished", "failed verification")),
        (
            FailureKind.TARGET_GONE,
            (
                "mkdir .*no such file",
                r"change_dir#\d+ .*no such file",
                r"\[receiver\].*no such file",
                "there is no folder",
                "^FileNotFoundError: ",
                "@ERROR: unknown module",
            ),
        ),
        (
            FailureKind.TARGET_REFUSES,
            (
                "permission denied",
                "read-only file system",
                "file too large",
                "operation not permitted",
                "cumulus-receive: ",
                "the storage refuses",
                r"^\w+Error: ",
            ),
        ),
        (
            FailureKind.SETUP,
            (
                "unknown option",
                "command not found",
                "failed to exec",
                "is your shell clean",
                "protocol version mismatch",
            ),
        ),
        (
            FailureKind.NETWORK,
            (
                "connection (?:refused|timed out|reset|closed)",
                "no route to host",
                "network is unreachable",
                "broken pipe",
                "could not resolve",
                "name or service not known",
                "temporary failure in name resolution",
                "not responding",
                "kex_exchange_identification",
                "timeout",
                "failed to connect",
                "@ERROR: max connections",
            ),
        ),
    )
)


@dataclass(frozen=True)
class Diagnosis:
    """What went wrong, and the tool's own words."""

    failure: FailureKind
    words: str

    @property
    def text(self) -> str:
        """For the job's owner."""
        return f"{self.failure.text} ({self.words})" if self.words else self.failure.text


def diagnose(code: int, said: str) -> Diagnosis:
    """Read why an rsync failed, from its exit code (negative: the signal that ended it) and its standard error."""
    for kind, pattern in _WORDS:
        if found := pattern.search(said):
            return Diagnosis(kind, _line_around(said, found.start()))
    words = _line_around(said, 0)
    if code < 0 or code in _ENDED_CODES:
        return Diagnosis(FailureKind.INTERRUPTED, words or f"rsync ended with {code}")
    if code in _TRANSIENT_CODES or code == 255:
        return Diagnosis(FailureKind.NETWORK, words or f"rsync ended with {code}")
    if code in (23, 24, 25):
        return Diagnosis(FailureKind.SOURCE_CHANGED if code == 24 else FailureKind.UNKNOWN, words)
    if code in (1, 2, 3, 4, 5, 6, 126, 127):
        return Diagnosis(FailureKind.SETUP, words or f"rsync ended with {code}")
    return Diagnosis(FailureKind.UNKNOWN, words or f"rsync ended with {code}")


def _line_around(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    line = text[start:].strip().partition("\n")[0]
    return " ".join(line.split())[:MAX_WORDS]
