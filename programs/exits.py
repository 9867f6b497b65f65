"""The exit codes of both programs. docs/operations.md lists them; no command ends with another one."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended, for a script."""

    OK = 0
    FAILED = 1  # refused, failed, or found something wrong; the message on standard error says what
    USAGE = 2  # the command line makes no sense; nothing was done
    JOB_FAILED = 3  # the command worked, but the job that it followed did not end as done
    UNEXPECTED = 70  # a fault in Cumulus (EX_SOFTWARE of sysexits.h); the message names the file with the details
    # As shells say it, 128 and the number of a signal:
    HUNG_UP = 129  # the terminal was closed
    INTERRUPTED = 130  # Ctrl-C
    READER_GONE = 141  # what read the output has ended, as in `cumulus jobs | head -1`
    ENDED = 143  # SIGTERM
