"""A job's log in its folder: reading, following and shortening it. How a long log is shown belongs to the logs' room."""

from contextlib import suppress
from pathlib import Path

from server.storage.job_folder.files import PrivateFiles
from server.storage.logs.job_log import LOG_HEAD_BYTES, LOG_TAIL_BYTES, Log, shortened
from server.storage.regular import open_regular


class JobLog:
    """The log of one job's folder, which the runner copies here while it grows."""

    def __init__(self, files: PrivateFiles) -> None:
        self._files = files

    @property
    def path(self) -> Path:
        """Where the log is, or would be."""
        return self._files.path("log")

    def text(self) -> str:
        """The log; of a very long one the beginning and the end."""
        return Log(self.path).text()

    def since(self, position: int) -> tuple[str, int]:
        """The whole lines from byte ``position`` on, and the position to continue from."""
        try:
            with open_regular(self.path) as file:
                file.seek(position)
                part = file.read(LOG_TAIL_BYTES)
        except OSError:
            return "", position
        whole = part[: part.rfind(b"\n") + 1] if len(part) < LOG_TAIL_BYTES else part
        return whole.decode(errors="replace"), position + len(whole)

    def is_long(self) -> bool:
        """Whether the log has more than is shown of it."""
        with suppress(OSError):
            return self.path.lstat().st_size > LOG_HEAD_BYTES + LOG_TAIL_BYTES
        return False

    def shorten(self) -> None:
        """Reduce a very long log to what is shown of it, where the folder can be written."""
        if self.is_long():
            with suppress(OSError):
                self._files.replace("log", shortened(self.text()))
