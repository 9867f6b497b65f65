"""What the operating system and its libraries print, through whichever tool: full disks, missing programs, networks that fail."""

from server.policy.error_texts.texts import ErrorTexts
from server.reasons import Reason

TEXTS: ErrorTexts = {
    Reason.CONTROLLER_DISK_FULL: (
        r"no space left on device",
        r"not enough space on the disk",
        r"errno 28\b",
        r"errno 122\b",
        r"disk quota exceeded",
        r"database or disk is full",
    ),
    Reason.NO_VALID_HOST: (r"out of memory",),
    Reason.SETUP_INCOMPLETE: (r"is not installed: apt-get install",),
    Reason.CLOUD_UNREACHABLE: (
        r"no such host",
        r"dial tcp",
        r"i/o timeout",
        r"connection refused",
        r"connection reset by peer",
        r"no route to host",
        r"network is unreachable",
        r"tls handshake timeout",
        r"x509: ",
        r"client\.timeout exceeded",
        r"context deadline exceeded \(client",
        r"temporary failure in name resolution",
        r"name or service not known",
        r"unexpected eof",
        r"failed to (?:connect to|discover available identity versions)",
    ),
}
