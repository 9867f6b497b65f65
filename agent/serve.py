"""Running the agent in this process: the web server in the main thread, the loop in another, until a signal ends both."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from flask import Flask

from agent.app import Api, create_app
from agent.completion import Completion
from agent.door import connections_beside, open_agent_door
from agent.errors import SetupMissing
from agent.installation import announced, only_agent
from agent.loop import Loop, Tasks
from agent.queue.database import open_database
from agent.queue.models import Job, database_of
from agent.queue.ownership import require_own, take_as_own
from agent.queue.queue import Queue
from agent.sending import staging
from agent.sending.carrier import Carrier
from agent.sending.children import Children, end_orphans
from agent.sending.rsync import Rsync
from agent.sending.sender import Sender
from agent.sending.target import Kind, read_target
from agent.settings import Settings, where_given
from agent.sources.surveyor import Surveyor
from agent.watcher import Watcher
from programs.database.watch import watched
from programs.errors import explained, why_not_listening
from programs.http.door import Door, ManyAddresses
from programs.interruption import until_a_signal
from programs.memory import give_memory_back
from programs.regular import open_regular
from programs.version import VERSION

JOIN_S = 10.0
RESTART = "restart the agent, and send again what was in its queue; what is under way is broken off"
REMOTE_END_S = 2.0  # in which the other side notices that an rsync is gone, and keeps what it has
log = structlog.get_logger()


@dataclass(frozen=True)
class Agent:
    """All parts of one agent, joined."""

    settings: Settings
    queue: Queue
    loop: Loop
    app: Flask


def make_agent(settings: Settings, clock: Callable[[], float] = time.time) -> Agent:
    """Join the parts; starts nothing. Raises InvalidInput for a target that is none."""
    target = read_target(settings.target)
    require_own(settings.home, settings.database)
    take_as_own(settings.home, open_database(settings.database))
    roots, queue, children = settings.places(), Queue(), Children(settings.home)
    rsync = Rsync(settings, target)
    carrier = Carrier(settings, target, rsync, children)
    tasks = Tasks(
        Sender(settings, roots, queue, carrier, children, clock),
        Surveyor(settings, roots, queue, children, clock),
        Completion(settings, queue, carrier, clock),
        Watcher(settings, queue, children, clock),
        children,
    )
    loop = Loop(settings, queue, tasks, clock)
    return Agent(settings, queue, loop, create_app(Api(settings, VERSION, queue, loop, clock)))


def serve(settings: Settings) -> None:
    """Run until SIGTERM, Ctrl-C or the end of the terminal.

    Raises AlreadyRunning, SetupMissing, InvalidInput before anything is sent.
    """
    with until_a_signal():
        require_setup(settings)
        give_memory_back()
        connections = connections_beside(settings)
        with only_agent(settings.home):
            if former := end_orphans(settings.home):
                log.warning("ended what a killed agent had left at work", pids=former)
            staging.clear(settings.home)
            agent = make_agent(settings)
            agent.queue.upkeep.begin_anew(time.time())
            if taken_up := agent.queue.upkeep.recover(time.time(), delay_s=REMOTE_END_S if former else 0.0):
                log.info("going on with what a former agent was sending", transfers=taken_up)
            server = _listen(settings, agent.app, connections)
            url = f"http://{settings.host}:{server.effective_port}"
            with announced(settings.home, url), watched(database_of(Job), RESTART), _working(agent.loop):
                log.info("ready", url=url, version=VERSION, target=settings.target, pid=os.getpid())
                server.run()  # returns at SystemExit
                log.info("stopping")
        database_of(Job).close()


def require_setup(settings: Settings) -> None:
    """What would make every transfer fail is said at the start. Raises SetupMissing, InvalidInput."""
    if not settings.target:
        raise SetupMissing("no target is set: CUMULUS_AGENT_TARGET, or `target` in cumulus-agent.toml, says where files go")
    target = read_target(settings.target)
    if not shutil.which(settings.rsync):
        raise SetupMissing(f"{settings.rsync} is not installed: `cumulus-agent doctor` says how to get it")
    require_files(settings, target.kind)
    if target.kind is Kind.SSH and not settings.known_hosts.is_file():
        raise SetupMissing(
            f"the host key of {target.login} is not known: put it into {settings.known_hosts} (`cumulus-agent doctor` says how)"
        )
    if not settings.roots:
        log.warning("no roots are set, so no file may be read and every job will fail")


def require_files(settings: Settings, kind: Kind) -> None:
    """What ssh and rsync read must be files, also behind links: at a pipe each transfer would wait. Raises SetupMissing."""
    names = {Kind.SSH: ("ssh_key", "known_hosts"), Kind.DAEMON: ("password_file",), Kind.LOCAL: ()}[kind]
    for name in names:
        path: Path | None = getattr(settings, name)
        if path is None or not os.path.lexists(path):
            continue
        try:
            open_regular(path, follow=True).close()
        except OSError as problem:
            text = f"{name} ({where_given(name)}) cannot be used: {explained(problem)}"
            raise SetupMissing(text, field=f"setting {name}") from None


@contextmanager
def _working(loop: Loop) -> Iterator[None]:
    thread = threading.Thread(target=loop.run, name="loop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join(JOIN_S)


def _listen(settings: Settings, app: Flask, connections: int) -> Door:
    try:
        return open_agent_door(settings, app, connections)
    except (OSError, ValueError) as error:
        text = f"cannot listen on {settings.host}:{settings.port}: {why_not_listening(error)}; set another port"
        raise SetupMissing(text) from None
    except ManyAddresses:
        raise SetupMissing(f"{settings.host} names several addresses: give one of them") from None
