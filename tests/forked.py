"""Runs commands as processes of their own, a hundred times faster than from a shell: everything is imported once, each is a fork.

A command has its own user, environment, folder, standard streams and limits, and passes the programs' real entry. Orders and
answers are lines of JSON on standard input and output; ``Forks`` is the other side.
"""

import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT_S = 60.0


@dataclass(frozen=True)
class Done:
    """How a command ended; -1 as its code: not in time."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Forks:
    """A process that runs commands."""

    process: "subprocess.Popen[str]"
    environment: dict[str, str] = field(default_factory=dict)

    def run(
        self, program: str, *arguments: str | bytes, folder: Path, env: Mapping[str, str | bytes] | None = None, **options: Any
    ) -> Done:
        """Run a command line of `cumulus` or `cumulus-agent`.

        ``options``: uid (another user), stdin (bytes), stdout (a device, or "closed"), nofile (limit of open files), limit_s.
        """
        options["stdin"] = _sent(options.get("stdin", b""))
        variables = {_sent(name): _sent(value) for name, value in {**self.environment, **(env or {})}.items()}
        order = {"program": program, "arguments": [_sent(one) for one in arguments], "folder": str(folder), "env": variables}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({**order, **options}) + "\n")
        self.process.stdin.flush()
        return Done(**json.loads(self.process.stdout.readline()))


@contextmanager
def forks() -> Iterator[Forks]:
    """Such a process, ended at the end."""
    command = [sys.executable, "-m", "tests.forked"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        path = os.environ["PATH"]
        yield Forks(process, {"PATH": path, "HOME": "/nonexistent", "LANG": "C.UTF-8", "TERM": "dumb"})


def _sent(text: str | bytes) -> str:
    return (text if isinstance(text, bytes) else os.fsencode(text)).decode("latin-1")


def _taken(text: str) -> str:
    return os.fsdecode(text.encode("latin-1"))


def main() -> None:
    """Carry out one order after the other until there are no more."""
    for package in ("server", "agent", "programs", "click"):
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                with suppress(ImportError, AssertionError):  # a part for another system
                    importlib.import_module(module.name)
    for line in sys.stdin:
        print(json.dumps(_carry_out(json.loads(line))), flush=True)


def _carry_out(order: Mapping[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
        given.write(order["stdin"].encode("latin-1"))
        given.seek(0)
        child = os.fork()
        if not child:
            _become(order, given.fileno(), out.fileno(), err.fileno())
        code = _wait(child, order.get("limit_s", LIMIT_S))
        out.seek(0)
        err.seek(0)
        return {"code": code, "stdout": out.read().decode(errors="replace"), "stderr": err.read().decode(errors="replace")}


def _wait(child: int, limit_s: float) -> int:
    handle = os.pidfd_open(child)
    try:
        if not select.select([handle], [], [], limit_s)[0]:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(handle)


def _become(order: Mapping[str, Any], given: int, out: int, err: int) -> None:
    """The command, in this process; never returns."""
    os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update({_taken(name): _taken(value) for name, value in order["env"].items()})
    sys.argv = [order["program"], *map(_taken, order["arguments"])]
    device = order.get("stdout", "")
    for number, handle in enumerate((given, os.open(device, os.O_WRONLY) if device.startswith("/") else out, err)):
        os.dup2(handle, number)
    if device == "closed":
        os.close(1)
    encoding = order["env"].get("PYTHONIOENCODING", "utf-8")
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=encoding, closefd=False) if device != "closed" else None  # type: ignore[assignment]  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(order["folder"])
    if limit := order.get("nofile"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if uid := order.get("uid"):
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    try:
        importlib.import_module("agent.entry" if order["program"] == "cumulus-agent" else "server.entry").main()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException as escaped:  # what no border held
        os.write(2, f"Traceback: {escaped!r}".encode())
    finally:
        os._exit(99)


if __name__ == "__main__":
    main()
