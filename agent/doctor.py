"""What this computer has and lacks for the agent's settings. Changes nothing, neither here nor on the target."""

import os
import re
import shutil
import socket
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.errors import AgentError, InvalidInput, SetupMissing
from agent.http_client import NoAnswer, NotAdmitted, get
from agent.installation import running_agent
from agent.sending.carrier import Carrier
from agent.sending.children import Children, Command
from agent.sending.rsync import Rsync, version
from agent.sending.rsync_failures import diagnose
from agent.sending.ssh import CONNECT_S
from agent.sending.staging import Load
from agent.sending.target import Kind, Target, read_target
from agent.settings import Settings, where_given
from programs.errors import explained, why_not_listening
from programs.regular import open_regular

OLDEST_RSYNC = (3, 1, 0)  # --info
OLDEST_FSYNC = (3, 2, 4)


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``text`` says how it is, or how to get it."""

    name: str
    ok: bool
    text: str


def examine(settings: Settings) -> list[Finding]:
    """Everything that an agent with these settings needs, in the order in which to fix it."""
    checks: tuple[tuple[str, Callable[[Settings], str]], ...] = (
        ("home", _home),
        ("rsync", _rsync),
        ("roots", _roots),
        ("target", lambda settings: str(_target(settings).kind)),
        ("ssh key", _key),
        ("host key", _host_key),
        ("storage", _storage),
        ("controller", _controller),
        ("port", _port),
    )
    return [_run(name, check, settings) for name, check in checks]


def _run(name: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(name, True, check(settings))
    except AgentError as error:
        return Finding(name, False, error.message)
    except OSError as error:  # such as no right to look
        return Finding(name, False, explained(error))


def _home(settings: Settings) -> str:
    if not settings.home.is_dir():
        return f"no agent has run on {settings.home} yet ({where_given('home')})"
    return str(settings.home)


def _rsync(settings: Settings) -> str:
    said = version(settings.rsync)
    found = re.search(r"version v?(\d+)\.(\d+)\.(\d+)", said)
    if not found:
        raise SetupMissing(f"{settings.rsync} is not installed (Debian: apt-get install rsync; Windows: cwRsync), see `rsync`")
    number = tuple(map(int, found.groups()))
    if number < OLDEST_RSYNC:
        raise SetupMissing(f"{said}: 3.1 or later is needed")
    if settings.fsync and number < OLDEST_FSYNC:
        raise SetupMissing(f"{said}: `fsync` needs 3.2.4; take a later rsync, or set fsync = false")
    return said


def _roots(settings: Settings) -> str:
    if not settings.roots:
        raise SetupMissing("no roots are set: the agent may read nothing, and every job will fail")
    away = [root.path for root in settings.roots if not os.access(root.path, os.R_OK | os.X_OK)]
    if away:
        raise SetupMissing(f"cannot be read: {', '.join(away)}")
    return ", ".join(root.path for root in settings.roots)


def _target(settings: Settings) -> Target:
    if not settings.target:
        raise SetupMissing("no target is set: say in `target` where files go")
    return read_target(settings.target)


def _key(settings: Settings) -> str:
    if _target(settings).kind is not Kind.SSH:
        return "not needed for this target"
    if not shutil.which(settings.ssh):
        raise SetupMissing(f"{settings.ssh} is not installed")
    key = settings.ssh_key
    if not os.path.lexists(key):
        raise SetupMissing(
            f'there is no key: ssh-keygen -t ed25519 -N "" -f {key}, and give {key.name}.pub to the controller (docs/agent.md)'
        )
    open_regular(key, follow=True).close()
    if sys.platform != "win32" and stat.S_IMODE(key.stat().st_mode) & 0o077:
        raise SetupMissing(f"others may read the key: chmod 600 {key}")
    return str(key)


def _host_key(settings: Settings) -> str:
    target = _target(settings)
    if target.kind is not Kind.SSH:
        return "not needed for this target"
    if settings.known_hosts.is_file():
        return str(settings.known_hosts)
    host = target.login.rpartition("@")[2]
    scan = f"ssh-keyscan -t ed25519 -p {settings.ssh_port} {host}"
    raise SetupMissing(
        f"unknown: {scan} > {settings.known_hosts}, and compare it with what the controller's administrator reads there"
    )


def _storage(settings: Settings) -> str:
    """A run of rsync that sends nothing, over a new connection: one that is open would not prove the key."""
    target = _target(settings)
    if target.kind is Kind.LOCAL:
        return _local_storage(Path(target.base))
    command = Rsync(settings, target).compare(Load(str(settings.home), ()), "data", shared=False)
    outcome = Children(settings.home).run(Command(command.argv))
    if outcome.code:
        raise SetupMissing(diagnose(outcome.code, outcome.stderr).text)
    listed = Carrier(settings, target, Rsync(settings, target), Children(settings.home)).list_taken(Load("", ()), "data", ())
    if listed.code and target.kind is not Kind.DAEMON:
        needed = "python3" if target.path else "cumulus-receive of this version"
        raise SetupMissing(f"the other end lacks {needed}: {diagnose(listed.code, listed.stderr).words}")
    return f"{settings.target} takes files"


def _local_storage(folder: Path) -> str:
    missing = [name for name in ("data", "jobs") if not os.access(folder / name, os.W_OK | os.X_OK)]
    if missing:
        raise SetupMissing(f"cannot be written to: {', '.join(str(folder / name) for name in missing)}")
    return f"{folder} takes files"


def _controller(settings: Settings) -> str:
    if not settings.controller:
        raise SetupMissing("no controller is set, so nobody hears of a file that cannot be sent: give its URL in `controller`")
    try:
        found = get(settings.controller, "/healthz", CONNECT_S)
        get(settings.controller, "/joblist/0/1", CONNECT_S, settings.token).require_admitted()
    except NotAdmitted as error:
        raise SetupMissing(error.message) from None
    except NoAnswer as error:
        raise SetupMissing(f"{settings.controller} does not answer: {error}") from None
    if not found.is_ok:
        raise SetupMissing(f"{settings.controller} answers {found.status}")
    return f"{settings.controller} answers"


def _port(settings: Settings) -> str:
    running = running_agent(settings.home)
    if running:
        return f"an agent answers at {running.url}"
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except (OSError, UnicodeError) as error:
            raise InvalidInput(f"cannot listen on {settings.host}:{settings.port}: {why_not_listening(error)}") from None
    return f"{settings.host}:{settings.port} is free"
