"""Answers that are given again while what they were made from is as it was. Owns their bytes; knows nothing of what they say."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Generic, TypeVar

MAX_BYTES = 8 * 1024 * 1024
ENTRY_BYTES = 1000  # what an answer takes beside its own bytes, roughly
FACTOR = 10  # times as long as it took to find something out it is good for
Parts = list[bytes]
Value = TypeVar("Value")


class _Kept:
    """One answer, and the stamp of what it was made from. Made by one thread while the others wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stamp: object = None
        self.parts: Parts | None = None
        self.size = ENTRY_BYTES


class Reused:
    """The answers given lately, within ``max_bytes`` of memory. Safe to be used from several threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, _Kept] = OrderedDict()

    def get(self, question: object, stamp: Callable[[], object], make: Callable[[], Parts]) -> Parts:
        """The answer to a question, made anew unless its stamp is what it was; one larger than all room is not kept.

        ``question``: anything whose ``repr`` says what it is. The stamp is taken before the answer is made, so what changes
        meanwhile makes the next stamp another one.
        """
        key = blake2b(repr(question).encode(errors="surrogatepass"), digest_size=16).digest()  # however long that is
        kept = self._entry(key)
        with kept.lock:
            now = stamp()
            if kept.parts is None or kept.stamp != now:
                parts = make()
                self._keep(key, kept, now, parts)
                return parts
            return kept.parts

    def _entry(self, key: bytes) -> _Kept:
        with self._lock:
            kept = self._answers.get(key)
            if kept is None:
                kept = self._answers[key] = _Kept()
                self._size += kept.size
                self._make_room()  # also where no answer comes of it
            self._answers.move_to_end(key)
            return kept

    def _keep(self, key: bytes, kept: _Kept, stamp: object, parts: Parts) -> None:
        size = ENTRY_BYTES + sum(map(len, parts))
        with self._lock:
            if self._answers.get(key) is not kept:  # it had to make room meanwhile
                return
            too_large = size > self._max_bytes
            kept.stamp, kept.parts = stamp, None if too_large else parts
            self._size -= kept.size
            kept.size = ENTRY_BYTES if too_large else size
            self._size += kept.size
            self._make_room()

    def _make_room(self) -> None:
        while self._size > self._max_bytes:
            self._size -= self._answers.popitem(last=False)[1].size


class Unhurried(Generic[Value]):
    """Something that may take long to find out: by one thread at a time, and for a tenth of the time at most.

    ``clock``: seconds that never jump.
    """

    def __init__(self, find: Callable[[], Value], clock: Callable[[], float] = time.monotonic) -> None:
        self._find = find
        self._clock = clock
        self._lock = threading.Lock()
        self._found: tuple[Value, float] | None = None

    def get(self) -> Value:
        """What was found, a while ago where that took a while. Raises what finding it out raises."""
        with self._lock:
            began = self._clock()
            if self._found is None or began >= self._found[1]:
                value = self._find()
                ended = self._clock()
                self._found = value, ended + FACTOR * (ended - began)
            return self._found[0]
