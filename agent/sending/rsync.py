"""The command lines of rsync for one target. Which files are sent is decided in sender.py, how a run ends in children.py."""

import shutil
import subprocess
from pathlib import Path

from agent.sending.children import Command
from agent.sending.rsync_output import FORMAT
from agent.sending.ssh import CONNECT_S, ssh_command
from agent.sending.staging import Load
from agent.sending.target import Kind, Target
from agent.settings import Settings
from agent.sources.paths import for_rsync
from agent.sources.skipping import FILTERS

PARTIAL = ".cumulus.partial"
# Deletes at the end, after using what broken attempts left behind; `risk` deletes that too, which rsync would protect by itself.
_EXACT = ("--delete-after", f"--filter=risk {PARTIAL}/")


class Rsync:
    """The command lines for one target."""

    def __init__(self, settings: Settings, target: Target) -> None:
        self._settings = settings
        self._target = target

    def send(self, load: Load, place: str, *, checksum: bool = False) -> Command:
        """Send files or folders to a place, so that its folders have what these have and no more.

        ``checksum``: compare contents, not size and time, with what is there.
        """
        options = [f"--partial-dir={PARTIAL}", "--info=progress2", *_EXACT, *self._limits()]
        options += ["--checksum"] if checksum else []
        # Several large transfers at once are faster each on a connection of its own.
        return self._of_names(options, load, place, shared=self._settings.parallel == 1)

    def list_new(self, load: Load, place: str) -> Command:
        """Find the names that are not in a place yet, and change nothing."""
        return self._of_names(["--dry-run", "--ignore-existing", "--no-recursive", "--dirs"], load, place)

    def link(self, load: Load, place: str, upload: str, *, replace: bool) -> Command:
        """Give what lies in an upload's folder its names, as hard links: where no other program can do that (a daemon)."""
        return self._of_names([f"--link-dest={upload}", *(_EXACT if replace else ["--ignore-existing"])], load, place)

    def discard(self, empty: str, place: str, upload: str) -> Command:
        """Remove an upload's folder from a place: sync an empty folder over it, with everything else excluded."""
        only = [f"--include=/{upload}/***", "--exclude=*"]
        argv = [*self._program(), "--recursive", "--delete", *only, *self._way(), "--", for_rsync(empty).rstrip("/") + "/"]
        return Command((*argv, self._target.at(place) + "/"))

    def compare(self, load: Load, place: str, *, shared: bool = True) -> Command:
        """Compare by checksums of both sides, and change nothing; extra files in a folder there are reported as deleted."""
        return self._of_names(["--dry-run", "--checksum", *_EXACT], load, place, shared=shared)

    def put(self, file: Path, path: str) -> Command:
        """Put one small file under a path in the storage."""
        argv = [*self._program(), "--times", *self._limits(), *self._way(), "--", for_rsync(str(file)), self._target.at(path)]
        return Command(tuple(argv))

    def _of_names(self, options: list[str], load: Load, place: str, *, shared: bool = True) -> Command:
        argv = [
            *self._program(),
            "--recursive",
            "--times",
            "--no-relative",  # the names go into the place itself
            "--files-from=-",
            "--from0",
            "--no-whole-file",  # also between two folders of this computer what is there already is not written again
            "--no-inc-recursive",
            "--no-human-readable",
            "-ii",
            f"--out-format={FORMAT}",
            *options,
            *(["--copy-links"] if load.follow else FILTERS),  # after the filters that let leftovers be deleted
            *self._way(shared=shared),
            "--",
            for_rsync(load.folder).rstrip("/") + "/",
            self._target.at(place) + "/",
        ]
        return Command(tuple(argv), load.names, load.descriptors)

    def _program(self) -> list[str]:
        # Readable for the controller and its machines, whatever the source's rights were.
        return [self._settings.rsync, "--chmod=Du=rwx,Dgo=rx,Fu=rw,Fgo=r"]

    def _limits(self) -> list[str]:
        options = ["--fsync"] if self._settings.fsync else []
        return options + ([f"--bwlimit={self._settings.bwlimit_kib}"] if self._settings.bwlimit_kib else [])

    def _way(self, *, shared: bool = True) -> list[str]:
        """``shared``: by the one connection to the target that all short runs use."""
        options = [f"--timeout={self._settings.timeout_s}"]
        if self._target.kind is Kind.SSH:
            options += ["--rsh", " ".join(map(_rsh_word, ssh_command(self._settings, shared=shared)))]
        if self._target.kind is Kind.DAEMON:
            options += [f"--contimeout={CONNECT_S}"]
            if self._settings.password_file:
                options += [f"--password-file={for_rsync(str(self._settings.password_file))}"]
        return options


def _rsh_word(word: str) -> str:
    """A word of ``--rsh``, which rsync splits by itself: blanks count within quotes, a doubled quote is one."""
    return "'" + word.replace("'", "''") + "'"


def version(program: str) -> str:
    """The first line of `rsync --version`; "" where there is none."""
    if not shutil.which(program):
        return ""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.partition("\n")[0].strip()
