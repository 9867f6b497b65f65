"""Running a controller in this process: the web server in the main thread, the loop in another, until a signal ends both."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

import structlog

from programs.database.watch import watched
from programs.errors import explained, why_not_listening
from programs.http.door import Door, ManyAddresses
from programs.http.unix_door import Application
from programs.interruption import until_a_signal
from programs.memory import give_memory_back
from server.api.http import connections_beside, open_controller_door, open_local_door
from server.app import Controller, make_controller, rebuild_database
from server.application import create_app
from server.catalog.flavors import read_flavors
from server.db.connection import open_database
from server.db.dialects.own_log import begin_log, require_sound
from server.db.errors import AFTER_A_LOSS
from server.engine.installed_apps import InstalledApps
from server.engine.records.database_owner import take_as_own, why_lost
from server.engine.records.storage_owner import own_storage
from server.errors import CloudError, CumulusError, SetupMissing, TemplateMissing
from server.home.controller_lock import only_controller
from server.home.files import require_writable
from server.home.folder import close_home
from server.home.installation import installation_id
from server.home.presence import announced
from server.home.running import NUDGE
from server.progress import Lines
from server.services.accounts.links import FirstAdmin
from server.services.accounts.rules import AccountRules
from server.settings import Settings
from server.storage.holding import Hold
from server.supervisor import Supervisor, take_supervisor
from server.workers.clouds.base import Cloud
from server.workers.clouds.registry import make_cloud
from server.workers.terraform.module import terraform_binary

PATIENCE_S = 3.0
STOP_GRACE_S = 4.0  # the API's own end takes up to 5 s during a download; 10 s in all
# For which a thread that has read a row waits for Python's lock while another one computes; a turn of the loop reads ten times.
SWITCH_S = 0.0005
LEFT_AT_WORK = "steps are still at work; the next controller adopts what they do"
log = structlog.get_logger()


class PortTaken(CumulusError):
    """The API cannot listen where it should."""

    code = "port_taken"


def serve(settings: Settings) -> None:
    """Run until SIGTERM, Ctrl-C or the end of the terminal.

    Raises AlreadyRunning, SetupMissing, StorageNotOurs, StorageInUse, PortTaken, InvalidInput before anything is created.
    """
    with until_a_signal():
        give_memory_back()
        connections = connections_beside(settings)
        supervisor = take_supervisor()
        with only_controller(settings.home) as lock:
            log.info("starting", cloud=str(settings.cloud), home=str(settings.home))
            read_flavors(settings.flavors)
            cloud = make_cloud(settings)
            require_setup(cloud)
            for suffix in ("", "-wal", "-shm"):
                require_writable(settings.database.with_name(settings.database.name + suffix))
            require_sound(settings.database)
            with own_storage(settings) as hold:
                finished = _serve(settings, cloud, supervisor, connections, lock, hold)
    if not finished:
        sys.stderr.flush()
        os._exit(0)  # Python would wait for the steps' threads; their children continue without it


def _serve(settings: Settings, cloud: Cloud, supervisor: Supervisor, connections: int, lock: IO[bytes], hold: Hold) -> bool:
    """Serve, once home and storage are held; True if no step was left at work."""
    server_id = installation_id(settings.home)
    _rebuild_if_lost(settings, server_id)
    _begin_log(settings)
    controller = make_controller(settings, cloud, require_storage=hold.require_own)
    take_as_own(controller.database, settings, server_id)
    controller.jobs.finish_interrupted()
    threading.Thread(target=_finish_uploads, args=(controller,), name="uploads", daemon=True).start()
    app = create_app(controller)
    server = _listen(settings, app, connections)
    url = f"http://{settings.host}:{server.effective_port}"
    if problem := settings.what_keeps_clients_out(settings.host):
        log.warning("desktop clients are refused", reason=problem)
    controller.catalog.problems()  # read now, so that the log reports them
    controller.cloud.start()
    _report_missing_apps(controller)
    try:
        with (
            _local(settings, app),
            announced(settings.home, url, lock, server_id),
            watched(controller.database, AFTER_A_LOSS),
            hold.kept(server_id),
        ):
            close_home(settings.home, settings.storage)
            return _run(controller, server, url, supervisor)
    finally:
        controller.cloud.stop()


def _finish_uploads(controller: Controller) -> None:
    """Bring to their end the uploads in which a controller was killed: files are read, so it may take long."""
    try:
        controller.uploads.finish_interrupted()
    except Exception:  # they are brought to their end by the next start
        log.exception("interrupted uploads could not be finished")


def _rebuild_if_lost(settings: Settings, server_id: str) -> None:
    """Rebuild the database where there are jobs and none, or an old one. Raises ForeignDatabase, DatabaseDamaged."""
    if why := why_lost(settings, server_id):
        log.warning("the database was lost, or is an old one; it is rebuilt from the job folders", why=why)
        made = rebuild_database(
            settings, time.time(), Lines(lambda text: log.info("rebuilding", step=text), patience_s=PATIENCE_S)
        )
        log.warning("the database is rebuilt; the former file lies beside it", **made.jobs, machines=len(made.machines))


def _begin_log(settings: Settings) -> None:
    database = open_database(settings.database)
    try:
        begin_log(database, settings.database)
    finally:
        database.close()


def require_setup(cloud: Cloud) -> None:
    """Report what is missing before anything is created. Raises SetupMissing with doctor's text, TemplateMissing."""
    terraform_binary()
    if problems := cloud.problems():
        raise SetupMissing(f"this computer is not ready for the cloud {cloud.name}:\n- " + "\n- ".join(problems))
    for problem in cloud.site_problems():
        log.warning("the cloud is not as it should be; jobs wait", detail=problem)
    try:
        hint = cloud.images.check()
    except CloudError as problem:
        log.warning("the snapshot could not be checked", detail=problem.message)
    else:
        if hint:
            log.warning("old snapshot", hint=hint)


def _report_missing_apps(controller: Controller) -> None:
    """Log the apps that cannot be used yet, without those that wait for a licence; they do not prevent the start."""
    installed, optional = InstalledApps(controller.catalog, controller.cloud), controller.catalog.optional_programs()
    for app, why in installed.missing().items():
        if app not in optional:
            log.warning("an app cannot be used yet", app=app, reason=why)
    with suppress(TemplateMissing, CloudError):
        if hint := installed.hint():
            log.warning("old snapshot", hint=hint)


def _listen(settings: Settings, app: Callable[..., object], connections: int) -> Door:
    try:
        return open_controller_door(settings, app, connections)
    except (OSError, ValueError) as error:
        text = f"cannot listen on {settings.host}:{settings.port}: {why_not_listening(error)}; choose another with --port"
        raise PortTaken(text) from None
    except ManyAddresses:
        raise PortTaken(f"{settings.host} names several addresses: give one of them") from None


@contextmanager
def _local(settings: Settings, app: Application) -> Iterator[None]:
    """Within the block, commands on this computer reach the controller by its Unix socket; without one they read the database."""
    try:
        door = open_local_door(settings, app)
    except OSError as problem:
        log.warning("there is no socket for commands on this computer", detail=explained(problem))
        yield
        return
    thread = threading.Thread(target=door.run, name="local door", daemon=True)
    thread.start()
    try:
        yield
    finally:
        door.end()
        thread.join(STOP_GRACE_S)


def _run(controller: Controller, server: Door, url: str, supervisor: Supervisor) -> bool:
    """Both until a signal; True if no step was left at work. The socket listens already: requests after "ready" are answered."""
    signal.signal(NUDGE, lambda _number, _frame: controller.loop.wake())
    sys.setswitchinterval(SWITCH_S)
    loop = threading.Thread(target=controller.loop.run, args=(supervisor,), name="loop", daemon=True)
    loop.start()
    log.info("ready", url=url, cloud=str(controller.cloud.name), pid=os.getpid())
    if link := FirstAdmin(time.time, AccountRules.of(controller.settings)).link(controller.settings.public_url or url):
        log.warning("there is no administrator yet: this link makes one, once, within a day", link=link)
    supervisor.ready()
    server.run()  # returns at SystemExit
    supervisor.stopping()
    log.info("stopping")
    finished = controller.loop.stop(STOP_GRACE_S)
    loop.join(1.0)
    if not finished:
        log.warning(LEFT_AT_WORK)
    log.info("stopped")
    return finished
