"""How a program that must clean up is ended: Ctrl-C, SIGTERM, a closed terminal, or a reader of its output that went away.

Owns the signals of this process and what happens to its output, not what is cleaned up. Each of these ends is the same exception,
raised once: a closed terminal signals the whole process group, and `make` and `sudo` pass the signal on, so a second one comes
while the first is being dealt with.
"""

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Sent by this process to itself where its output is lost. Not SIGPIPE: a connection that breaks would raise that one, too.
OUTPUT_LOST = signal.SIGUSR2
WHY = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "asked to end",
    signal.SIGHUP: "the terminal was closed",
    signal.SIGPIPE: "nobody reads the output any more",
}


class Interrupted(KeyboardInterrupt):
    """The program is to end. ``number``: the signal that said so; SIGPIPE where the reader of the output is gone."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """What a shell reports for a program that this signal ended."""
        return 128 + self.number

    @property
    def why(self) -> str:
        """For a person, in a few words."""
        return WHY.get(self.number, self.number.name)


class Shield:
    """Signals that come behind it wait."""

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

    Signals stay without effect after an Interrupted has left the block, so that the program ends with an exit code of its own.
    For the main thread of a process that does nothing else. A SIGHUP that nohup has switched off stays so.
    """
    end, handled = _Once(), [number for number in ENDING if not _is_nohup(number)]
    before = {number: signal.signal(number, end) for number in (*handled, OUTPUT_LOST)}
    try:
        with lasting_output(end.lose):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if end.number else handler)


class _Once:
    """A handler that raises at the first signal."""

    def __init__(self) -> None:
        self.number: int = 0
        self._lost_to: signal.Signals | None = None

    def __call__(self, number: int, _frame: object) -> None:
        if self.number:
            return
        self.number = int(self._lost_to or number) if number == OUTPUT_LOST else number
        raise Interrupted(self.number)

    def lose(self, error: int) -> None:
        """The output is lost, for any thread; the main thread hears of it."""
        if error == errno.EIO and _is_nohup(signal.SIGHUP):
            return
        self._lost_to = signal.SIGHUP if error == errno.EIO else signal.SIGPIPE
        if main := threading.main_thread().ident:
            signal.pthread_kill(main, OUTPUT_LOST)


@contextmanager
def lasting_output(lost: Callable[[int], None]) -> Iterator[None]:
    """Within the block, standard output and error fail no more: what nobody can read is dropped.

    ``lost`` is called with the error number when a terminal is gone (EIO) or a reader (EPIPE), in the thread that has written.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _lasting(before[0], lost), _lasting(before[1], lost)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError):
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


def _is_nohup(number: int) -> bool:
    return number == signal.SIGHUP and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
