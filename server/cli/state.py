"""``cumulus state``: the workspaces of Terraform, with what the rows and the cloud know of them, and what can be done to one."""

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from server.app import make_workspaces
from server.cli.shared.arguments import TEXT, as_json_option, number_between
from server.cli.shared.clouds import asking_the_cloud
from server.cli.shared.decommission import removing
from server.cli.shared.opening import administrator, open_rows, open_rows_to_change, own_installation
from server.cli.shared.output import PATIENCE_S, printable, progress_on_stderr, show_json, show_table
from server.services.workspaces import WorkspaceService, WorkspacesView, WorkspaceView, workspace_json
from server.settings import Settings
from server.workers.clouds import registry
from server.workers.workspaces import Drift

MB = 1 << 20
DRIFT_LIMIT_S = 120.0


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
    service, who = _service(open_rows()), administrator()
    with asking_the_cloud():
        listed, why = service.listed(who)
    if why:
        click.echo(f"cumulus: the cloud cannot be asked which machines run: {printable(why)}", err=True)
    heard = Heard(len(listed))
    drifts = service.drifts(who, listed, drift_limit, heard) if drift else {}
    found = service.described(who, listed, drifts)
    show_json(list(map(workspace_json, found.workspaces))) if as_json else _show(found, with_drift=drift)


@state.command()
@click.argument("name", type=TEXT)
@click.option("--force", is_flag=True, help="Also where a job is at work on it; that is tried again on another machine.")
@as_json_option
def destroy(name: str, force: bool, as_json: bool) -> None:
    """Remove the machine of the workspace NAME and all that belongs to it, and return when the cloud confirms that it is gone."""
    with progress_on_stderr(PATIENCE_S).step(f"Removing {name}"):
        gone = _service(open_rows_to_change()).destroy(administrator(), name, force=force)
    text = f"{name} is gone" + (f"; job {gone.job} is tried again on another machine" if gone.job else "")
    _tell({"worker": name, "removed": True, "job": gone.job}, text, as_json=as_json)


@state.command()
@click.argument("name", type=TEXT)
@click.option(
    "--force", is_flag=True, help="Also where a process holds the lock; it is interrupted, and killed if it does not go."
)
@as_json_option
def unlock(name: str, force: bool, as_json: bool) -> None:
    """Clear away the lock on the state of NAME whose process is gone."""
    service, who = _service(open_rows_to_change()), administrator()
    held = service.lock(who, name)
    if force and held is not None and held.is_held:
        click.echo("cumulus: a terraform that is ended at work may leave a machine that its state does not know", err=True)
    with progress_on_stderr(PATIENCE_S).step(f"Unlocking {name}"):
        done = service.unlock(who, name, force=force)
    _tell({"worker": name, "was": asdict(done.was) if done.was else None}, done.text, as_json=as_json)


@state.command()
@click.argument("name", type=TEXT)
@click.option("--force", is_flag=True, help="Also where a machine of that name is in use; it goes on, and is removed by its tag.")
@as_json_option
def forget(name: str, force: bool, as_json: bool) -> None:
    """Set the state of NAME aside, so that Terraform knows the machine no more; the cloud is not touched."""
    done = _service(open_rows_to_change()).forget(administrator(), name, force=force)
    left = None if done.left is None else [{"kind": one.kind, "identifier": one.identifier} for one in done.left]
    _tell({"worker": name, "aside": str(done.aside) if done.aside else None, "left": left}, done.text, as_json=as_json)


@state.command()
def env() -> None:
    """Print what a plain terraform needs to see the same: eval "$(cumulus state env)"."""
    for name, value in _service(own_installation()).environment(administrator()).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _service(settings: Settings) -> WorkspaceService:
    workspaces = make_workspaces(settings, registry.known_cloud(settings))
    return WorkspaceService(settings, workspaces, removing(settings))


class Heard:
    """Says each answer about drift as it comes; ``total``: how many are asked for."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._known = 0

    def __call__(self, name: str, drift: Drift) -> None:
        """One more is known."""
        self._known += 1
        click.echo(f"{self._known} of {self._total}: {printable(name)}: {_drift_told(drift)}", err=True)


def _drift_told(drift: Drift) -> str:
    words = {"none": "no drift", "drift": "differs: ", "unknown": "not known: "}
    return words[drift.found] + printable(drift.text)


def _show(found: WorkspacesView, *, with_drift: bool) -> None:
    columns = ("workspace", "job", "owner", "worker is", "machine runs", "started", "MB", "MB shared out", "serial", "lock")
    rows = [_cells(one, with_drift=with_drift) for one in found.workspaces]
    if rows:
        show_table((*columns, *(("drift",) if with_drift else ()), "resources"), rows)
    else:
        click.echo("there is no workspace")
    for line in (*_matters(found), *found.remarks):
        click.echo(printable(line))


def _matters(found: WorkspacesView) -> Iterator[str]:
    """What differs, and what is the matter with each."""
    for one in found.workspaces:
        name = one.workspace.worker
        if one.drift and one.drift.text:
            yield f"{name}: {_drift_told(one.drift)}"
        yield from (f"{name}: {text}" for text in one.troubles)


def _cells(one: WorkspaceView, *, with_drift: bool) -> list[str]:
    known = one.workspace
    memory, lock = known.memory, known.lock
    used = [f"{size / MB:.0f}" for size in (memory.resident, memory.proportional)] if memory else ["-", "-"]
    runs = "?" if known.alive is None else "yes" if known.alive else "no"
    held = f"{lock.operation or 'held'} {one.lock_age_s:.0f} s" if lock and lock.is_held else "left over" if lock else "-"
    who = [str(one.job or "-"), one.owner or "-", one.state or "unknown here"]
    drift = [one.drift.found if one.drift else "unknown"] if with_drift else []
    return [known.worker, *who, runs, one.boot or "-", *used, str(known.serial), held, *drift, " ".join(known.resources)]


def _tell(found: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    for line in text.splitlines():
        click.echo(printable(line))
