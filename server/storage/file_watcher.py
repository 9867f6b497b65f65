"""Learning at once what appears in folders of the storage, instead of listing them again and again.

The kernel reports changes that this computer makes, also as an NFS server for others, but not what others do in a storage that is
mounted here. Owns the watching, and the question whether it can be relied on.
"""

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import psutil
import structlog
from asyncinotify import Inotify, Mask, Watch

APPEARED = Mask.CREATE | Mask.MOVED_TO | Mask.ONLYDIR  # heartbeats and logs only change what is there
ANCHOR = Mask.DELETE_SELF | Mask.ONLYDIR
# Whose content others may change without a word to this kernel; the beginnings of the types' names.
ELSEWHERE = ("nfs", "cifs", "smb", "ceph", "fuse", "9p", "virtiofs", "glusterfs", "lustre", "gpfs", "beegfs", "afs", "ncpfs")
log = structlog.get_logger()


class FileWatcher:
    """Calls ``wake`` when a file with one of the names appears in one of the watched folders, which :meth:`heard` names."""

    def __init__(self, root: Path, names: Collection[str], wake: Callable[[], None]) -> None:
        """``root``: the folder that all of them are in; it must exist."""
        self._root = root
        self._names = frozenset(names)
        self._wake = wake
        self._watches: dict[str, Watch] = {}
        self._heard: set[str] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._inotify: Inotify | None = None
        if not is_local(root):
            return
        try:
            self._inotify = Inotify()
            self._anchor = self._inotify.add_watch(root, ANCHOR)  # its removal ends the thread
        except OSError as problem:  # this user may have used up all that the kernel gives
            log.warning("the storage cannot be watched, and is listed again and again instead", detail=str(problem))
            self._inotify = None
            return
        threading.Thread(target=self._hear, args=(self._inotify,), name="file-watcher", daemon=True).start()

    def listen_only_to(self, folders: Collection[str]) -> bool:
        """Watch the folders of these names, and no longer others; True if nothing that appears in them can be missed.

        What has appeared before is not reported: list the folders after this.
        """
        if self._inotify is None:
            return not folders
        wanted = set(folders)
        with self._lock:
            for gone in self._watches.keys() - wanted:
                watch = self._watches.pop(gone)
                with suppress(OSError):  # the folder was removed, and the watch with it
                    self._inotify.rm_watch(watch)
            for new in wanted - self._watches.keys():
                with suppress(OSError):  # it is not there, or the kernel gives no more: said by what is returned
                    self._watches[new] = self._inotify.add_watch(self._root / new, APPEARED)
            return len(self._watches) == len(wanted)

    def heard(self) -> set[str]:
        """The names of the folders in which something has appeared, or that are gone, since this was asked last."""
        with self._lock:
            heard, self._heard = self._heard, set()
            return heard

    def close(self) -> None:
        """Watch no more."""
        if self._inotify is not None and not self._closing.is_set():
            self._closing.set()
            with suppress(OSError):
                self._inotify.rm_watch(self._anchor)

    def _hear(self, inotify: Inotify) -> None:
        with inotify:
            while not self._closing.is_set():
                event = inotify.sync_get()
                if event is None:
                    continue
                if event.mask & Mask.IGNORED:
                    self._forget(event.watch)
                elif event.mask & Mask.Q_OVERFLOW:
                    with self._lock:
                        self._heard.update(self._watches)  # whichever it was
                    self._wake()
                elif str(event.name) in self._names and event.watch is not None:
                    with self._lock:
                        self._heard.add(event.watch.path.name)
                    self._wake()

    def _forget(self, watch: Watch | None) -> None:
        """The kernel watches there no more; where the folder is made again, it is another one."""
        with self._lock:
            if watch is not None and self._watches.get(watch.path.name) is watch:
                del self._watches[watch.path.name]
                self._heard.add(watch.path.name)


def is_local(path: Path) -> bool:
    """Whether only this computer can change what is there; False where that is not known."""
    mounts = [one for one in psutil.disk_partitions(all=True) if path.resolve().is_relative_to(one.mountpoint)]
    if not mounts:
        return False
    return not max(mounts, key=lambda one: len(one.mountpoint)).fstype.lower().startswith(ELSEWHERE)
