"""What this computer has and lacks for the settings in use. Looks only; starts and creates nothing that stays."""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from programs.errors import explained, why_not_listening
from server.catalog.apps import Catalog
from server.catalog.flavors import read_flavors
from server.client import Client
from server.db.account_models import User
from server.db.opening import open_to_read
from server.db.settings_store import read_setting
from server.engine.duties.timekeeping import why_doubted
from server.engine.installed_apps import InstalledApps
from server.engine.records.account_roster import RESTORED, why_older
from server.engine.records.recovery import has_jobs
from server.errors import CloudError, CumulusError
from server.home.installation import known_id
from server.home.running import running_controller
from server.services.accounts.people import ADMIN
from server.services.host_checks import THIS, Computer
from server.services.principal import Principal, Role
from server.settings import CloudName, Settings, where_given
from server.storage.folders import Storage
from server.workers.clouds.base import Cloud
from server.workers.clouds.capabilities import HasQuota
from server.workers.clouds.qemu.accelerator import described
from server.workers.clouds.qemu.network.uplink import uplink_problems
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.registry import cloud_for_inspection
from server.workers.terraform.module import terraform_binary

GB = 1_000_000_000


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``text`` says how it is, or how to get it."""

    name: str
    ok: bool
    text: str


def examine(principal: Principal, settings: Settings, computer: Computer = THIS) -> list[Finding]:
    """Everything that a controller with these settings needs, in the order in which to mend it. Raises Forbidden."""
    principal.require(Role.ADMINISTRATOR)
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("home", lambda: _home(settings)),
        ("python", _python),
        ("terraform", terraform_binary),
        ("flavors", lambda: _flavors(settings)),
        ("storage", lambda: _storage(settings)),
        ("database", lambda: _database(settings)),
        ("accounts", lambda: _accounts(settings)),
        ("ages", lambda: _ages(settings)),
        ("port", lambda: _port(settings)),
        ("networks", lambda: _networks(settings)),
    )
    if settings.cloud is CloudName.OPENSTACK:
        checks += computer.checks(settings)
    findings = [_run(name, check) for name, check in checks]
    findings += [Finding("app", False, problem) for problem in _apps(settings)]
    return findings + list(_once(_cloud(settings)))


def _installed(settings: Settings, cloud: Cloud) -> Iterator[Finding]:
    """The apps that the machines lack; one whose licence nobody has agreed to is no trouble."""
    catalog = Catalog(settings.apps)
    installed, optional = InstalledApps(catalog, cloud), catalog.optional_programs()
    found = [Finding("app", app in optional, f"{app}: {why}") for app, why in installed.missing(tries=True).items()]
    yield from found
    if not any(not one.ok for one in found):
        yield _run("apps", lambda: installed.hint() or "the machines have those that were tried on their snapshot")


def _run(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except CumulusError as error:
        return Finding(name, False, error.message)
    except OSError as error:  # this user may not look, say
        return Finding(name, False, explained(error))


def _apps(settings: Settings) -> Iterator[str]:
    """What keeps apps from running."""
    catalog = Catalog(settings.apps)
    yield from map(str, catalog.problems())
    if settings.cloud is CloudName.QEMU and (using := [app.id for app in catalog.apps().values() if app.internet]):
        yield from (f"{', '.join(using)}: {problem}" for problem in uplink_problems())


def _cloud(settings: Settings) -> Iterator[Finding]:
    name = f"cloud {settings.cloud}"
    try:
        cloud = cloud_for_inspection(settings)
        problems = cloud.problems()
    except (CumulusError, OSError) as error:
        yield Finding(name, False, error.message if isinstance(error, CumulusError) else explained(error))
        return
    if not problems:
        yield Finding(name, True, "all programs are there")
        problems = cloud.site_problems()  # a trouble there keeps no controller from starting
    yield from (Finding(name, False, problem) for problem in problems)
    if settings.cloud is CloudName.QEMU:
        yield _run("accelerator", lambda: described(QemuHome(settings.home, settings.accelerator)))
    yield from _quota(cloud)
    yield _run("snapshot", lambda: cloud.images.check() or "there is one to make workers from")
    yield from _installed(settings, cloud)


def _quota(cloud: Cloud) -> Iterator[Finding]:
    try:
        quotas = cloud.quota.listed() if isinstance(cloud, HasQuota) else []
    except CloudError as trouble:
        yield Finding("quota", False, trouble.message)
        return
    if quotas:
        text = ", ".join(f"{one.name} {one.used} of {'any' if one.limit is None else one.limit}" for one in quotas)
        yield Finding("quota", not any(one.lacks(1) for one in quotas), text)


def _once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """One trouble is one line: a cloud that lets nobody in says so to each question, and numbers its answers."""
    known: set[str] = set()
    for one in findings:
        text = one.text.partition(" (Request-ID")[0]
        if one.ok or text not in known:
            yield one
        known.add(text)


def _home(settings: Settings) -> str:
    if not known_id(settings.home):
        return f"there is no installation in {settings.home} yet ({where_given('home')}); `cumulus serve` makes it"
    return f"an installation is in {settings.home}"


def _python() -> str:
    return sys.version.split()[0]


def _flavors(settings: Settings) -> str:
    flavors = read_flavors(settings.flavors)
    if settings.default_flavor not in flavors:
        missing = f"{settings.flavors} has no {settings.default_flavor}"
        raise CumulusError(f"{missing}, which the desktop client waits for: add it, or set default_flavor")
    return f"{len(flavors)} in {settings.flavors}, maximal weight {flavors.max_weight}"


def _storage(settings: Settings) -> str:
    folder = next(path for path in (settings.storage, *settings.storage.parents) if path.exists())
    room = os.statvfs(folder)
    free_gb = room.f_bavail * room.f_frsize / GB
    if room.f_bavail == 0 or (room.f_files > 0 and room.f_favail == 0):
        raise CumulusError(f"the disk below {folder} takes no more {'files' if room.f_bavail else 'bytes'}: make room")
    if free_gb < settings.min_free_gb:
        raise CumulusError(f"only {free_gb:.1f} GB are free below {folder}, {settings.min_free_gb} are wanted: make room")
    return f"{free_gb:.0f} GB free below {folder}"


def _database(settings: Settings) -> str:
    """Whether it is there and of this installation, also by the word of the controller that has it open. Raises CumulusError."""
    if running := running_controller(settings.home):
        Client(running.url).health()
    if settings.database.exists():
        open_to_read(settings).close()
        return f"{settings.database}"
    if has_jobs(Storage(settings.storage)):
        raise CumulusError(f"{settings.database} is not there, and the storage has jobs: `cumulus serve` makes it anew from them")
    return f"there is none yet; `cumulus serve` makes {settings.database}"


def _accounts(settings: Settings) -> str:
    """Whether they are those that were changed last. Raises CumulusError."""
    try:
        database = open_to_read(settings)
    except CumulusError:
        return "there are none that can be read"
    try:
        return describe_accounts(settings.database)
    finally:
        database.close()


def describe_accounts(database: Path) -> str:
    """How many there are, and whether a backup was restored, of the database that is open. Raises CumulusError."""
    if why := why_older(database):
        text = "the database was restored or replaced, and may have accounts and tokens that were taken away since"
        raise CumulusError(f"{text} ({why}): the next start of the controller ends all tokens, sessions and links")
    users = User.select().where(User.disabled_at.is_null())
    administrators = users.where(User.role == ADMIN).count()
    text = f"{users.count()} users who are not disabled, {administrators} of them administrators"
    if not administrators:
        text += "; `cumulus serve` prints a link for the first one"
    restored = read_setting(RESTORED)
    return f"{text}; the database was restored on {restored}" if restored else text


def _ages(settings: Settings) -> str:
    """Whether this computer's clock agrees with what was recorded. Raises CumulusError."""
    try:
        database = open_to_read(settings)
    except CumulusError:
        return "nothing can be read that it could contradict"
    try:
        doubted = why_doubted(time.time())
    finally:
        database.close()
    if doubted:
        raise CumulusError(f"nothing is removed by its age: {doubted}")
    return "it agrees with what was recorded last"


def _networks(settings: Settings) -> str:
    """Whose desktop clients are believed. Raises CumulusError."""
    if problem := settings.what_keeps_clients_out(settings.host):
        raise CumulusError(problem)
    proxies = f"; proxies: {', '.join(settings.trusted_proxies)}" if settings.trusted_proxies else ""
    return f"desktop clients are believed from {', '.join(settings.trusted_networks) or 'nowhere'}{proxies}"


def _port(settings: Settings) -> str:
    running = running_controller(settings.home)
    if running:
        return f"a controller answers at {running.url}"
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except (OSError, UnicodeError) as error:
            text = (
                f"cannot listen on {settings.host}:{settings.port}: {why_not_listening(error)}; choose another with CUMULUS_PORT"
            )
            raise CumulusError(text) from None
    return f"{settings.host}:{settings.port} is free"
