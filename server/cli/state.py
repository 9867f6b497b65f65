"""``cumulus state``: the workspaces of Terraform, with what the rows and the cloud know of them, and what can be done to one."""

import json
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import click

from programs.errors import login
from server import app as parts
from server.cli.shared.console import (
    PATIENCE_S,
    TEXT,
    asking_the_cloud,
    local_time,
    number_between,
    open_rows,
    open_rows_to_change,
    own_installation,
    printable,
    progress_on_stderr,
    show_table,
)
from server.cli.shared.decommission import finish_removal, remove_unowned
from server.db.models import Change, Job, Worker, jobs_of, living_workers, record_event
from server.engine.completion import Completion
from server.engine.duties.sweeper import OWN_NAME
from server.engine.records.manifests import Manifests
from server.errors import InvalidInput
from server.home.installation import nudge
from server.services.decommission import Removal, removal_wish
from server.settings import Settings
from server.states import WorkerState
from server.storage.folders import Storage
from server.workers.clouds import registry
from server.workers.clouds.base import Resource
from server.workers.workspaces import Drift, Listed, Workspaces, describe_lock, failures, require_name

MB = 1 << 20
DRIFT_LIMIT_S = 120.0
# Earlier, the controller would make the machine anew beside the one that is there.
MADE = frozenset({WorkerState.READY, WorkerState.BUSY, WorkerState.HELD, WorkerState.DELETING})
as_json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group(invoke_without_command=True)
@as_json_option
@click.option("--drift", is_flag=True, help="Ask the cloud, too, whether each still is as its state says; changes nothing.")
@click.option(
    "--drift-limit", type=number_between(1, 86_400), default=DRIFT_LIMIT_S, show_default=True, help="Seconds for all of that."
)
@click.pass_context
def state(ctx: click.Context, as_json: bool, drift: bool, drift_limit: float) -> None:
    """List the workspaces of Terraform: whose machine each is, what it takes here, who has locked it, what is the matter with it.

    Without an action it changes nothing. `cumulus state env` says what a plain terraform needs to see the same.
    """
    if ctx.invoked_subcommand is not None:
        if as_json or drift:
            raise click.UsageError("options of the list do not go with an action; --json stands behind the action")
        return
    settings = open_rows()
    workspaces = parts.make_workspaces(settings, registry.known_cloud(settings))
    with asking_the_cloud():
        listed, why = workspaces.listed()
    if why:
        click.echo(f"cumulus: the cloud cannot be asked which machines run: {printable(why)}", err=True)
    drifts = _drifts(workspaces, [one.worker for one in listed], drift_limit) if drift else {}
    workers = living_workers()
    found = _described(listed, workers, drifts, time.time())
    click.echo(json.dumps(found, indent=1)) if as_json else _show(found, workers, with_drift=drift)


@state.command()
@click.argument("name", type=TEXT)
@click.option("--force", is_flag=True, help="Also where a job is at work on it; that is tried again on another machine.")
@as_json_option
def destroy(name: str, force: bool, as_json: bool) -> None:
    """Remove the machine of the workspace NAME and all that belongs to it, and return when the cloud confirms that it is gone."""
    require_name(name)
    settings, workspaces = _opened()
    worker, job = _living(name), None
    if worker is None:
        workspaces.require(name)
        _require_own(name, force=force)
        with progress_on_stderr(PATIENCE_S).step(f"Removing {name}"):
            remove_unowned(settings, name)
    else:
        storage = Storage(settings.storage)
        removal = Removal(storage, Completion(settings, Manifests(storage)))
        job = removal.begin(worker, removal_wish(login(), time.time()), force=force)
        limit_s = settings.making_limit_s + settings.play_timeout_s + settings.removal_limit_s
        with progress_on_stderr(PATIENCE_S).step(f"Removing {name}"):
            finish_removal(settings, worker, limit_s)
    text = f"{name} is gone" + (f"; job {job.id} is tried again on another machine" if job else "")
    _tell({"worker": name, "removed": True, "job": job.id if job else None}, text, as_json=as_json)


@state.command()
@click.argument("name", type=TEXT)
@click.option(
    "--force", is_flag=True, help="Also where a process holds the lock; it is interrupted, and killed if it does not go."
)
@as_json_option
def unlock(name: str, force: bool, as_json: bool) -> None:
    """Clear away the lock on the state of NAME whose process is gone."""
    _, workspaces = _opened()
    workspaces.require(name)
    held = workspaces.lock(name)
    if force and held is not None and held.is_held:
        click.echo("cumulus: a terraform that is ended at work may leave a machine that its state does not know", err=True)
    with progress_on_stderr(PATIENCE_S).step(f"Unlocking {name}"):
        lock = workspaces.unlock(name, force=force)
    text = f"{name} is unlocked; it was locked by {describe_lock(lock, time.time())}" if lock else f"{name} is not locked"
    _tell({"worker": name, "was": asdict(lock) if lock else None}, text, as_json=as_json)


@state.command()
@click.argument("name", type=TEXT)
@click.option("--force", is_flag=True, help="Also where a machine of that name is in use; it goes on, and is removed by its tag.")
@as_json_option
def forget(name: str, force: bool, as_json: bool) -> None:
    """Set the state of NAME aside, so that Terraform knows the machine no more; the cloud is not touched."""
    settings, workspaces = _opened()
    workspaces.require(name)
    worker = _living(name)
    if worker is not None:
        _require_forgettable(worker, force=force)
    aside, left = workspaces.set_aside(name)
    if worker is not None:
        record_event(Worker, worker.id, Change(time.time(), who=login(), text="its state was set aside"))
    nudge(settings.home)
    found = None if left is None else [{"kind": one.kind, "identifier": one.identifier} for one in left]
    text = [f"the state of {name} lies in {aside} now" if aside else f"{name} had no state", *_left_told(left, worker, settings)]
    _tell({"worker": name, "aside": str(aside) if aside else None, "left": found}, "\n".join(text), as_json=as_json)


@state.command()
def env() -> None:
    """Print what a plain terraform needs to see the same: eval "$(cumulus state env)"."""
    settings = own_installation()
    workspaces = parts.make_workspaces(settings, registry.known_cloud(settings))
    for name, value in workspaces.environment().items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _opened() -> tuple[Settings, Workspaces]:
    settings = open_rows_to_change()
    return settings, parts.make_workspaces(settings, registry.known_cloud(settings))


def _living(name: str) -> Worker | None:
    return next((worker for worker in living_workers() if worker.name == name), None)


def _require_own(name: str, *, force: bool) -> None:
    if not OWN_NAME.fullmatch(name) and not force:
        raise InvalidInput(f"{name} was made by another command, such as a snapshot's trial: --force removes it", field="NAME")


def _require_forgettable(worker: Worker, *, force: bool) -> None:
    if not force:
        text = f"{worker.name} is {worker.state}: `cumulus state destroy` removes it, --force forgets its state all the same"
        raise InvalidInput(text, field="NAME")
    if worker.state not in MADE:
        raise InvalidInput(f"{worker.name} is being made: wait, or `cumulus state destroy` it", field="NAME")


def _left_told(left: list[Resource] | None, worker: Worker | None, settings: Settings) -> Iterator[str]:
    """What the cloud still has of a machine whose state is forgotten, and what becomes of that."""
    if left == []:
        yield "the cloud has nothing that carries its tag"
        return
    yield from (f"the cloud still has its {one.kind} {printable(one.identifier)}" for one in left or ())
    if left is None:
        yield "the cloud cannot be asked what it still has"
    if worker is not None:
        yield "what is left goes on as it is, and is removed by its tag at its end"
    else:
        yield (
            "a controller removes what carries this installation's tag and is nobody's at its second look, one every"
            f" {settings.sweep_interval_s:.0f} s; `cumulus orphans --delete` removes it now"
        )


def _drifts(workspaces: Workspaces, names: list[str], limit_s: float) -> dict[str, Drift]:
    known: list[str] = []

    def progress(name: str, drift: Drift) -> None:
        known.append(name)
        click.echo(f"{len(known)} of {len(names)}: {printable(name)}: {_drift_told(drift)}", err=True)

    return workspaces.drifts(names, limit_s, progress)


def _drift_told(drift: Drift) -> str:
    words = {"none": "no drift", "drift": "differs: ", "unknown": "not known: "}
    return words[drift.found] + printable(drift.text)


def _described(listed: list[Listed], workers: list[Worker], drifts: Mapping[str, Drift], now: float) -> list[dict[str, Any]]:
    """Each workspace with what its row, its job and the look for drift say."""
    rows = {worker.name: worker for worker in workers}
    owners = {job.id: job.owner for job in jobs_of(workers)}
    return [_one(one, rows.get(one.worker), owners, drifts.get(one.worker), now) for one in listed]


def _one(one: Listed, row: Worker | None, owners: Mapping[int, str], drift: Drift | None, now: float) -> dict[str, Any]:
    job = row.job_id if row else None
    return {
        **asdict(one),
        "lock": {**asdict(one.lock), "held": one.lock.is_held, "age_s": round(now - one.lock.since, 1)} if one.lock else None,
        "state": row.state if row else "",
        "boot": row.boot if row else "",
        "message": row.message if row else "",
        "job": job,
        "owner": owners.get(job or 0, "") or _former_owner(job),
        "drift": asdict(drift) if drift else None,
        "troubles": failures(one, row.state if row else "", own=bool(OWN_NAME.fullmatch(one.worker))),
    }


def _former_owner(job_id: int | None) -> str:
    """Whose job it was, where that has ended."""
    job = Job.get_or_none(Job.id == job_id) if job_id else None
    return job.owner if job else ""


def _show(found: list[dict[str, Any]], workers: list[Worker], *, with_drift: bool) -> None:
    columns = ("workspace", "job", "owner", "worker is", "machine runs", "started", "MB", "MB shared out", "serial", "lock")
    rows = [(*_cells(one), *((one["drift"]["found"],) if with_drift else ()), " ".join(one["resources"])) for one in found]
    show_table((*columns, *(("drift",) if with_drift else ()), "resources"), rows)
    for line in (*_matters(found), *_of_rows(workers, {one["worker"] for one in found})):
        click.echo(printable(line))


def _matters(found: list[dict[str, Any]]) -> Iterator[str]:
    """What differs, and what is the matter with each."""
    for one in found:
        if one["drift"] and one["drift"]["text"]:
            yield f"{one['worker']}: {_drift_told(Drift(**one['drift']))}"
        yield from (f"{one['worker']}: {text}" for text in one["troubles"])


def _of_rows(workers: list[Worker], listed: set[str]) -> Iterator[str]:
    """What no workspace tells: which machines are held, and which should be there and are not."""
    for worker in workers:
        if worker.state == WorkerState.HELD:
            yield f"{worker.name} is held {worker.message}"
        elif worker.held_until and worker.state != WorkerState.DELETING:
            yield f"{worker.name} is held until {local_time(worker.held_until)}, should its job fail"
        if worker.state in MADE and worker.name not in listed:
            yield f"{worker.name} is {worker.state} and has no workspace: `cumulus state destroy {worker.name}` ends it at once"


def _cells(one: Mapping[str, Any]) -> list[str]:
    memory, lock = one["memory"], one["lock"]
    used = [f"{memory[part] / MB:.0f}" for part in ("resident", "proportional")] if memory else ["-", "-"]
    runs = {True: "yes", False: "no", None: "?"}[one["alive"]]
    held = f"{lock['operation'] or 'held'} {lock['age_s']:.0f} s" if lock and lock["held"] else "left over" if lock else "-"
    who = [str(one["job"] or "-"), one["owner"] or "-", one["state"] or "unknown here"]
    return [one["worker"], *who, runs, one["boot"] or "-", *used, str(one["serial"]), held]


def _tell(found: dict[str, Any], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(found, indent=1) if as_json else text)
