"""What an upload needs on the computer that it comes from: the file, what is noted of it, pauses."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from cumulus_client.errors import ApiError

PIECE_BYTES = 1 << 18  # the system takes so much at a time; httpx copies what it does not
PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0


class UploadFailed(ApiError):
    """The file is not there, and trying again would not help. ``code``, ``status``: the server's, where it gave some."""

    code = "upload_failed"

    def __init__(self, message: str, code: str = "", status: int = 0) -> None:
        super().__init__(message, code)
        self.status = status


class Notes:
    """Where uploads can be continued, a small file for each. Nothing is lost if it cannot be written."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_folder() / "cumulus" / "uploads"

    def read(self, key: str) -> str:
        """The URL that was noted; "" for none."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            noted = json.loads(self._path(key).read_text())
            return str(noted["url"]) if noted["key"] == key else ""
        return ""

    def keep(self, key: str, url: str) -> None:
        """Note it."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside = self._path(key).with_suffix(f".{os.getpid()}.new")
            beside.write_text(json.dumps({"key": key, "url": url}))
            beside.replace(self._path(key))

    def forget(self, key: str) -> None:
        """The upload has ended."""
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:32]}.json"


def cache_folder() -> Path:
    """The user's own folder for what can be made again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


class Source:
    """The file, with the SHA-256 of what was read of it; that is computed beside, while the same bytes are sent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb", buffering=0)
        found = os.fstat(self._file.fileno())
        self.size, self._modified_ns = found.st_size, found.st_mtime_ns
        self._digest, self._hashed = hashlib.sha256(), 0
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._beside.shutdown()
        self._file.close()

    @property
    def key(self) -> str:
        """Another text for another file, or another content of it."""
        return f"{self._path.absolute()}\n{self.size}\n{self._modified_ns}"

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """What lies there. Raises UploadFailed where the file was changed."""
        if begin > self._hashed:  # an earlier run has sent what comes before
            for _ in self.pieces(self._hashed, begin):
                pass
        self._file.seek(begin)
        while begin < end:
            piece = self._file.read(min(PIECE_BYTES, end - begin))
            if not piece:
                raise UploadFailed(f"{self._path} became shorter while it was sent")
            self._hash(piece, begin)
            yield piece
            begin += len(piece)

    def sha256(self) -> str:
        """Of all, once all was read. Raises UploadFailed where the file was changed meanwhile."""
        self._wait()
        found = os.fstat(self._file.fileno())
        if (found.st_size, found.st_mtime_ns) != (self.size, self._modified_ns):
            raise UploadFailed(f"{self._path} was changed while it was sent")
        return self._digest.hexdigest()

    def _hash(self, piece: bytes, begin: int) -> None:
        fresh = piece[self._hashed - begin :] if begin < self._hashed else piece
        if begin + len(piece) > self._hashed:
            self._wait()
            self._hashed = begin + len(piece)
            self._pending = self._beside.submit(self._digest.update, fresh)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None


class Patience:
    """Pauses that grow until something comes through again."""

    def __init__(self, limit_s: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._limit_s, self.clock, self._sleep = limit_s, clock, sleep
        self._since, self._pause_s = clock(), PAUSE_S

    def progressed(self) -> None:
        """Something has come through."""
        self._since, self._pause_s = self.clock(), PAUSE_S

    def pause(self, problem: object) -> None:
        """Wait before the next try. Raises UploadFailed where nothing came through for too long."""
        if self.clock() - self._since > self._limit_s:
            raise UploadFailed(f"nothing could be sent for {self._limit_s:.0f} s: {problem}")
        self._sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
