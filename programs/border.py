"""The border between a failure and a person: every program runs inside, and no user sees a traceback.

Owns what is reported, and where; interruption.py owns signals and lost output. An expected failure is one line on standard error.
An unexpected one is one line, too; its traceback is in a file that the line names. Both end with an exit code of
:mod:`programs.exits`.
"""

import os
import shlex
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from programs.errors import Expected, explained
from programs.exits import ExitCode
from programs.interruption import Interrupted, ending_in_order, to_nowhere
from programs.regular import open_to_append

ERRORS = "errors.log"
MAX_ERRORS_BYTES = 1_000_000  # then the file is rotated; one old file is kept

Folders = Callable[[], Iterable[Path]]


def run(program: str, command: Callable[[], object], folders: Folders = tuple) -> int:
    """Run ``command``; returns the exit code, which is what the command returns or how it failed.

    ``folders``: where the file with the details of an unexpected failure may be, best first; the system's temporary folder is
    the last resort.
    """
    _prepare_streams()
    threading.excepthook = lambda args: _tell_of_thread(program, args, folders)
    try:
        with ending_in_order():
            return _flushed(program, _run(program, command, folders))
    except Interrupted as interrupted:  # at the very end
        return tell_interrupted(program, interrupted)


def _run(program: str, command: Callable[[], object], folders: Folders) -> int:
    try:
        return _result(command())
    except BaseException as failure:  # noqa: BLE001  # this is the last that catches anything
        return _report_failure(program, failure, folders)


def _report_failure(program: str, failure: BaseException, folders: Folders) -> int:
    try:
        return _failed(program, failure, folders)
    except Exception as another:  # noqa: BLE001  # reporting a failure can fail
        return _tell_unexpected(program, another, folders)


def _failed(program: str, failure: BaseException, folders: Folders) -> int:
    match failure:
        case SystemExit():
            return _exit(program, failure)
        case Interrupted():
            return tell_interrupted(program, failure)
        case KeyboardInterrupt():
            return _ended(program, "interrupted", ExitCode.INTERRUPTED)
        case Expected():
            return _ended(program, failure.message, ExitCode.FAILED)
        case OSError() if failure.filename is None and _is_full(sys.stdout):
            return _ended(program, f"the output cannot be written: {failure.strerror}", ExitCode.FAILED)
        case OSError():
            return _ended(program, explained(failure), ExitCode.FAILED)
        case MemoryError():
            return _ended(program, "this computer has too little memory for that", ExitCode.FAILED)
    code = _of_click(program, failure)
    return _tell_unexpected(program, failure, folders) if code is None else code


def tell_interrupted(program: str, interrupted: Interrupted) -> ExitCode:
    """Say why the program ends; returns its exit code. A reader that closed the pipe gets no message."""
    if interrupted.meaning or interrupted.exit_code is not ExitCode.READER_GONE:
        tell(program, f"{interrupted.why}: {interrupted.meaning}" if interrupted.meaning else interrupted.why)
    return interrupted.exit_code


def _of_click(program: str, failure: BaseException) -> int | None:
    """The exit code of what click raises, which is shown as click does; None for anything else."""
    from click import Abort, ClickException  # not before it is needed: an import can fail, too
    from click.exceptions import Exit

    if isinstance(failure, Abort):
        cause = failure.__cause__
        return tell_interrupted(program, cause) if isinstance(cause, Interrupted) else ExitCode.INTERRUPTED
    if isinstance(failure, Exit):
        return failure.exit_code
    if isinstance(failure, ClickException):
        with suppress(OSError):
            failure.show()
        return failure.exit_code
    return None


def _result(value: object) -> int:
    return value if isinstance(value, int) else ExitCode.OK


def _exit(program: str, failure: SystemExit) -> int:
    if failure.code is None or isinstance(failure.code, int):
        return failure.code or ExitCode.OK
    return _ended(program, str(failure.code), ExitCode.FAILED)


def _ended(program: str, message: str, code: ExitCode) -> int:
    tell(program, message)
    return code


def tell(program: str, message: str) -> None:
    """Write a line to standard error, if possible; control characters are replaced."""
    text = "".join(char if char.isprintable() or char == "\n" else "?" for char in message)
    with suppress(OSError, ValueError):
        print(f"{program}: {text}", file=sys.stderr, flush=True)  # noqa: T201  # click may be what failed


def _tell_of_thread(program: str, args: threading.ExceptHookArgs, folders: Folders) -> None:
    """Ignores a thread that raises SystemExit, as Python does."""
    if not issubclass(args.exc_type, SystemExit):
        _tell_unexpected(program, args.exc_value or args.exc_type(), folders)


def _tell_unexpected(program: str, failure: BaseException, folders: Folders) -> int:
    what = " ".join(traceback.format_exception_only(failure)[-1].split())[:300]
    where = _written(program, "".join(traceback.format_exception(failure)), folders)
    details = f"the details are in {where}" if where else "the details could not be written anywhere"
    return _ended(program, f"an error that should not happen: {what}; {details}", ExitCode.UNEXPECTED)


def _written(program: str, details: str, folders: Folders) -> Path | None:
    """Write the details to a file; returns its path, None if no file can be written."""
    command = shlex.join([program, *sys.argv[1:]])
    entry = f"--- {time.strftime('%Y-%m-%d %H:%M:%S %z')}, Python {sys.version.split()[0]}: {command}\n{details}\n"
    content = entry.encode(errors="backslashreplace")
    with suppress(Exception):  # the settings that name the folder may be what is wrong
        for folder in folders():
            with suppress(OSError):
                return _appended(folder / ERRORS, content)
    with suppress(OSError), tempfile.NamedTemporaryFile(prefix=f"{program}-error-", suffix=".log", delete=False) as file:
        file.write(content)
        return Path(file.name)
    return None


def _appended(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if path.stat().st_size > MAX_ERRORS_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
    with open_to_append(path) as file:
        file.buffer.write(content)
    return path


def _prepare_streams() -> None:
    """Make the standard streams open and able to take any text: characters that the terminal lacks become escape sequences."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:  # closed: otherwise the next file to be opened would get its number, and the output
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flushed(program: str, code: int) -> int:
    """The exit code; another one where the output could not be written."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError as error:
            if number == 1 and code == ExitCode.OK:
                code = _ended(program, f"the output cannot be written: {error.strerror}", ExitCode.FAILED)
            to_nowhere(number)  # Python would try again at exit, and print its own message
        except ValueError:  # it is closed
            continue
    return code


def _is_full(stream: TextIO) -> bool:
    """Whether the stream accepts nothing, so that it was the output that failed."""
    try:
        stream.flush()
    except (OSError, ValueError):
        return True
    return False
