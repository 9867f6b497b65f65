"""How a program is ended: by Ctrl-C, SIGTERM, a closed terminal, or a reader of its output that went away.

Owns the signals of this process and what happens to its output, not clean-up and messages; every command runs in
it, see border.py. Each of these ends is the same exception, raised once: a closed terminal signals the whole process group, and
`make` and `sudo` pass the signal on, so a second one comes while the first is being dealt with. A server ends in its own way, by
``until_a_signal``.
"""

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, MappingProxyType
from typing import TextIO

from programs.exits import ExitCode

GIVEN_UP = "what was being made is given up, the next time begins it anew"  # of templates and snapshots
HANGUP, PIPE = 1, 13  # as everywhere but on Windows, which has neither
if sys.platform == "win32":
    ENDING: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
    OUTPUT_LOST: int = signal.SIGBREAK

    def _rouse(_thread: int) -> None:
        signal.raise_signal(OUTPUT_LOST)

else:
    ENDING: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # Sent by this process to itself where its output is lost. Not SIGPIPE: a connection that breaks would raise that one, too.
    OUTPUT_LOST: int = signal.SIGUSR2

    def _rouse(thread: int) -> None:
        signal.pthread_kill(thread, OUTPUT_LOST)


_ENDS = MappingProxyType(
    {
        signal.SIGINT: (ExitCode.INTERRUPTED, "interrupted"),
        signal.SIGTERM: (ExitCode.ENDED, "asked to end"),
        HANGUP: (ExitCode.HUNG_UP, "the terminal was closed"),
        PIPE: (ExitCode.READER_GONE, "the reader of the output has ended"),
    }
)


class Interrupted(KeyboardInterrupt):
    """The program has to end. ``number``: the signal that said so; that of SIGPIPE where the reader of the output is gone.

    ``meaning``: what becomes of the program's work, for a person.
    """

    def __init__(self, number: int, meaning: str = "") -> None:
        super().__init__(number)
        self.number = number
        self.meaning = meaning

    @property
    def exit_code(self) -> ExitCode:
        """What a shell reports for a program that this signal ended."""
        return _ENDS[self.number][0]

    @property
    def why(self) -> str:
        """For a person, in a few words."""
        return _ENDS[self.number][1]

    @classmethod
    def of(cls, code: int) -> "Interrupted | None":
        """What has ended another program with that exit code; None where nothing did."""
        return next((cls(number) for number, (own, _) in _ENDS.items() if own == code), None)


@contextmanager
def interruption_means(meaning: str) -> Iterator[None]:
    """What becomes of the work within the block if the program has to end meanwhile, for a person."""
    try:
        yield
    except Interrupted as interrupted:
        interrupted.meaning = meaning
        raise


class Shield:
    """Signals that arrive while it is up wait."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        found = {number: signal.getsignal(number) for number in (*ENDING, OUTPUT_LOST)}
        self._handlers = {number: handler for number, handler in found.items() if handler is not signal.SIG_IGN}

    @property
    def struck(self) -> bool:
        """Whether a signal waits."""
        return bool(self._waiting)

    def up(self) -> None:
        """From here on signals wait."""
        for number in self._handlers:
            signal.signal(number, lambda number, _frame: self._waiting.append(number))

    def down(self) -> None:
        """The first signal that waited takes effect, and so does each later one at once."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        waiting, self._waiting = self._waiting[:1], []
        for first in waiting:
            signal.raise_signal(first)

    @contextmanager
    def lowered(self) -> Iterator[None]:
        """Within the block, signals take effect."""
        try:
            self.down()
            yield
        finally:
            self.up()


@contextmanager
def shielded() -> Iterator[Shield]:
    """Signals that come within the block take effect at its end, or where the shield is lowered. For the main thread.

    What is begun and must be ended is begun in such a block, its ``try`` within it, and what lies between with a lowered shield:
    no signal can come between the beginning and the ``try``.
    """
    shield = Shield()
    shield.up()
    try:
        yield shield
    except BaseException:
        with suppress(Interrupted):  # it ends as it is
            shield.down()
        raise
    shield.down()


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Within the block, the first signal that ends the program, or the loss of its output, raises Interrupted; no later one does.

    Signals stay without effect after an Interrupted, so that the program ends with an exit code of its own. Else they end it by
    themselves behind the block: Python would answer Ctrl-C with a traceback. For the main thread. A signal that is ignored, as
    SIGHUP by nohup, stays so, and handlers that the block has set for itself stay, too.
    """
    end = _Once()
    for number in (*filter(_is_heard, ENDING), OUTPUT_LOST):
        signal.signal(number, end)
    try:
        with lasting_output(end.lose):
            yield
    finally:
        behind = signal.SIG_IGN if end.number else signal.SIG_DFL
        for number in (*ENDING, OUTPUT_LOST):
            if signal.getsignal(number) is end:
                signal.signal(number, behind)


class _Once:
    """A handler that raises at the first signal."""

    def __init__(self) -> None:
        self.number: int = 0
        self._lost_to = 0

    def __call__(self, number: int, _frame: object) -> None:
        if self.number:
            return
        self.number = self._lost_to or number
        raise Interrupted(self.number)

    def lose(self, error: int) -> None:
        """The output is lost, for any thread; the main thread hears of it."""
        if error == errno.EIO and not _is_heard(HANGUP):
            return
        self._lost_to = HANGUP if error == errno.EIO else PIPE
        if main := threading.main_thread().ident:
            _rouse(main)


@contextmanager
def lasting_output(lost: Callable[[int], None]) -> Iterator[None]:
    """Within the block, standard output and error do not fail: what cannot be written is dropped.

    ``lost`` is called with the error number when a terminal is gone (EIO) or a reader (EPIPE), in the thread that has written.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _lasting(before[0], lost), _lasting(before[1], lost)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream: TextIO, lost: Callable[[int], None]) -> TextIO:
    try:
        file = stream.fileno()
        stream.flush()
    except (AttributeError, OSError, ValueError):  # nothing that a terminal or a pipe could be behind
        return stream
    raw = io.BufferedWriter(_Output(file, lost))  # type: ignore[type-var]  # typeshed wants more than Python does
    lines = getattr(stream, "line_buffering", True)
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors=stream.errors, line_buffering=lines, write_through=True)


class _Output(io.RawIOBase):
    """An open file whose reader may go."""

    def __init__(self, file: int, lost: Callable[[int], None]) -> None:
        self._file = file
        self._lost = lost

    def fileno(self) -> int:
        return self._file

    def isatty(self) -> bool:
        return os.isatty(self._file)

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        try:
            return os.write(self._file, data)
        except OSError as problem:
            if problem.errno not in (errno.EPIPE, errno.EIO):
                raise
            to_nowhere(self._file)
            self._lost(problem.errno)
            return len(data)


def to_nowhere(file: int) -> None:
    """From now on, what is written to the open file is dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, file)
    finally:
        os.close(nowhere)


def _is_heard(number: int) -> bool:
    return signal.getsignal(number) is not signal.SIG_IGN


@contextmanager
def until_a_signal() -> Iterator[None]:
    """The first signal ends a server, which runs within, by SystemExit with code 0; one that lost its output continues.

    Behind it nothing is left to end, and Python drops its handlers while it exits: no signal has an effect. Where the server
    fails, they are what they were.
    """
    before = {number: signal.signal(number, _end) for number in filter(_is_heard, ENDING)}
    before[OUTPUT_LOST] = signal.signal(OUTPUT_LOST, _pass_over)
    try:
        yield
    except SystemExit:
        _hear_no_more()
        raise
    except BaseException:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise
    _hear_no_more()


def _hear_no_more() -> None:
    for number in (*ENDING, OUTPUT_LOST):
        signal.signal(number, signal.SIG_IGN)


def _pass_over(_number: int, _frame: FrameType | None) -> None:
    """Not SIG_IGN, which children would inherit."""


def _end(number: int, _frame: FrameType | None) -> None:
    """Once: a closed terminal signals several times, and the end must come to its end."""
    for one in ENDING:
        signal.signal(one, _pass_over)
    if number == HANGUP:
        for file in (sys.stdout, sys.stderr):  # from here on, no log line may fail
            to_nowhere(file.fileno())
    raise SystemExit(0)
