"""``cumulus state``: the workspaces of Terraform, with what the rows and the cloud know of them, and what can be done to one."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import click

from cumulus_client.workspaces import Drift, Workspace
from server.cli.shared.arguments import TEXT, as_json_option, number_between
from server.cli.shared.backend import opened
from server.cli.shared.decommission import removed
from server.cli.shared.output import PATIENCE_S, asking_the_cloud, printable, progress_on_stderr, show_json, show_table

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
    Example: cumulus state --drift
    """
    if ctx.invoked_subcommand is not None:
        if as_json or drift:
            raise click.UsageError("options of the list do not go with an action; --json stands behind the action")
        return
    workspaces = opened().workspaces
    with asking_the_cloud():
        found = workspaces.list()
    if found.unknown:
        click.echo(f"cumulus: the cloud cannot be asked which machines run: {printable(found.unknown)}", err=True)
    names = [one.worker for one in found.workspaces]
    drifts = workspaces.drifts(names, drift_limit, Heard(len(names))) if drift else {}
    listed = [one.model_copy(update={"drift": drifts.get(one.worker)}) for one in found.workspaces]
    show_json([one.model_dump() for one in listed]) if as_json else _show(listed, found.remarks, with_drift=drift)


@state.command()
@click.argument("name", type=TEXT)
@click.option("--force", is_flag=True, help="Also where a job is at work on it; that is tried again on another machine.")
@as_json_option
def destroy(name: str, force: bool, as_json: bool) -> None:
    """Remove the machine of the workspace NAME and all that belongs to it, and return when the cloud confirms that it is gone.

    Example: cumulus state destroy job-17 --force
    """
    with progress_on_stderr(PATIENCE_S).step(f"Removing {name}"):
        gone = removed(name, force=force)
    text = f"{name} is gone" + (f"; job {gone.job} is tried again on another machine" if gone.job else "")
    _print({"worker": name, "removed": True, "job": gone.job}, text, as_json=as_json)


@state.command()
@click.argument("name", type=TEXT)
@click.option(
    "--force", is_flag=True, help="Also where a process holds the lock; it is interrupted, and killed if it does not go."
)
@as_json_option
def unlock(name: str, force: bool, as_json: bool) -> None:
    """Clear away the lock on the state of NAME whose process is gone.

    Example: cumulus state unlock job-17
    """
    workspaces = opened(to_change=True).workspaces
    held = workspaces.lock(name)
    if force and held is not None and held.held:
        click.echo("cumulus: a terraform that is ended at work may leave a machine that its state does not know", err=True)
    with progress_on_stderr(PATIENCE_S).step(f"Unlocking {name}"):
        done = workspaces.unlock(name, force=force)
    was = done.was.model_dump(include={"operation", "who", "since", "pid"}) if done.was else None
    _print({"worker": name, "was": was}, done.message, as_json=as_json)


@state.command()
@click.argument("name", type=TEXT)
@click.option("--force", is_flag=True, help="Also where a machine of that name is in use; it runs on, and is removed by its tag.")
@as_json_option
def forget(name: str, force: bool, as_json: bool) -> None:
    """Set the state of NAME aside, so that Terraform knows the machine no more; the cloud is not touched.

    Example: cumulus state forget job-17
    """
    done = opened(to_change=True).workspaces.forget(name, force=force)
    _print({"worker": name, **done.model_dump(exclude={"message"})}, done.message, as_json=as_json)


@state.command()
def env() -> None:
    """Print what a plain terraform needs to see the same, on this computer.

    Example: eval "$(cumulus state env)"
    """
    from server.cli.shared.clouds import own_access  # paths of this computer, also where a controller runs
    from server.cli.shared.opening import administrator, own_installation
    from server.services.administration import Administration, AdministrationWiring

    settings = own_installation()
    found = Administration(settings, AdministrationWiring(lambda: own_access(settings))).workspaces
    for name, value in found.environment(administrator()).items():
        click.echo(f"export {name}={shlex.quote(value)}")


class Heard:
    """Says each answer about drift as it comes; ``total``: how many are asked for."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._known = 0

    def __call__(self, name: str, drift: Drift) -> None:
        """One more is known."""
        self._known += 1
        click.echo(f"{self._known} of {self._total}: {printable(name)}: {_drift_in_words(drift)}", err=True)


def _drift_in_words(drift: Drift) -> str:
    words = {"none": "no drift", "drift": "differs: ", "unknown": "not known: "}
    return words[drift.found] + printable(drift.text)


def _show(listed: Sequence[Workspace], remarks: Sequence[str], *, with_drift: bool) -> None:
    columns = ("workspace", "job", "owner", "worker is", "machine runs", "started", "MB", "MB shared out", "serial", "lock")
    rows = [_cells(one, with_drift=with_drift) for one in listed]
    if rows:
        show_table((*columns, *(("drift",) if with_drift else ()), "resources"), rows)
    else:
        click.echo("there is no workspace")
    for line in (*_failures(listed), *remarks):
        click.echo(printable(line))


def _failures(listed: Sequence[Workspace]) -> Iterator[str]:
    """What differs, and what is the matter with each."""
    for one in listed:
        if one.drift and one.drift.text:
            yield f"{one.worker}: {_drift_in_words(one.drift)}"
        yield from (f"{one.worker}: {text}" for text in one.troubles)


def _cells(one: Workspace, *, with_drift: bool) -> list[str]:
    memory, lock = one.memory, one.lock
    used = [f"{size / MB:.0f}" for size in (memory.resident, memory.proportional)] if memory else ["-", "-"]
    runs = "?" if one.alive is None else "yes" if one.alive else "no"
    held = f"{lock.operation or 'held'} {lock.age_s:.0f} s" if lock and lock.held else "left over" if lock else "-"
    who = [str(one.job or "-"), one.owner or "-", one.state or "unknown here"]
    drift = [one.drift.found if one.drift else "unknown"] if with_drift else []
    return [one.worker, *who, runs, one.boot or "-", *used, str(one.serial), held, *drift, " ".join(one.resources)]


def _print(found: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    for line in text.splitlines():
        click.echo(printable(line))
