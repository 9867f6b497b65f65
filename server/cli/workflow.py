"""``cumulus workflow``: all steps of a workflow in one call, each a job of its own."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence

import click

from cumulus_client.submissions import Submitted
from programs.exits import ExitCode
from programs.interruption import shielded
from server.catalog.apps import parsed, parsed_workflow
from server.catalog.forms import control_of, labelled, refuse_name
from server.catalog.model import App, Preset, Workflow
from server.catalog.workflows import FilledStep, preset_values
from server.cli.accounts.credentials import default_owner
from server.cli.sending.shared_files import SharedFiles
from server.cli.shared.arguments import TEXT
from server.cli.shared.backend import Rows, opened
from server.cli.shared.connection import (
    cancelled_on_failure,
    is_complete,
    require_deliverable,
    send,
    shared_files,
    taking_jobs,
)
from server.cli.shared.following import follow
from server.cli.shared.inputs import Prepared, complete, read_typed, split, take_stored
from server.errors import InvalidInput
from server.settings import load_settings

FIXED = frozenset({"hidden", "disabled"})
_Step = tuple[App, tuple[Preset, ...]]


@click.group("workflow")
def workflow() -> None:
    """Programs that run one after the other, each on the results of the one before."""


@workflow.command()
@click.argument("name", type=TEXT, metavar="WORKFLOW")
@click.option("--flavor", type=TEXT, help="Machine size of all steps; default: the installation's.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=PATH", help="A file for the field NAME; again for more.")
@click.option(
    "--shared", "stored", multiple=True, metavar="NAME=FILE", help="A file of the storage's shared data; again for more."
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="NAME=VALUE",
    help="The value of the field NAME; STEP:NAME=VALUE, counted from 0, where several steps have one. Lists as JSON.",
)
@click.option("--owner", type=TEXT, default=default_owner, show_default="you")
@click.option("--description", type=TEXT, default="")
@click.option(
    "--wait", "--follow", "wait", is_flag=True, help="Show the logs until the last step ends; exit code 3 if one fails."
)
def run(
    name: str,
    flavor: str | None,
    inputs: tuple[str, ...],
    stored: tuple[str, ...],
    sets: tuple[str, ...],
    owner: str,
    description: str,
    wait: bool,
) -> None:
    """Submit all steps of WORKFLOW with files of this computer; prints the jobs' numbers, the last one's last.

    Example: cumulus workflow run filter_and_search_1.0.0 --input spectra=my.mzML --input database=my.fasta --wait
    """
    settings, cumulus = load_settings(), opened(rows=Rows.IF_THERE)
    found = parsed_workflow(cumulus.workflows.get(name).xml)
    apps = {app: parsed(cumulus.apps.form(app).xml) for app in dict.fromkeys(step.app for step in found.steps)}
    steps = prepare_steps(found, apps, sets, inputs, shared_files(settings), stored)
    cumulus = taking_jobs(settings)
    for prepared in steps:
        require_deliverable(settings, prepared)
    common = {"flavor": flavor or "", "description": description, "workflow": found.name, "owner": owner}

    def start(number: int, after: int | None = None) -> Submitted:
        prepared = steps[number]
        fields = {**common, "start_after": after, "complete": is_complete(settings, prepared)}
        return cumulus.submissions.submit(found.steps[number].app, prepared.settings, **fields)

    with shielded() as shield:  # a job that was taken is cancelled, whenever the signal comes
        jobs = [start(0)]
        with cancelled_on_failure(cumulus, jobs[0]), shield.lowered():
            for number in range(1, len(steps)):
                jobs.append(start(number, jobs[-1].id))
            for job, prepared in zip(jobs, steps, strict=True):
                send(settings, cumulus, job, prepared)
    for job in jobs:
        click.echo(job.id)
    if wait and not all(follow(cumulus, job.id) for job in jobs):
        sys.exit(ExitCode.JOB_FAILED)


def prepare_steps(
    found: Workflow,
    apps: Mapping[str, App],
    sets: Iterable[str],
    inputs: Iterable[str],
    data: SharedFiles,
    stored: Iterable[str] = (),
) -> list[Prepared]:
    """The forms of all steps with their files. Raises InvalidInput where one of them could not run, whichever it is."""
    steps = [(apps[step.app], step.presets) for step in found.steps]
    own_sets, own_inputs, own_stored = (_by_step(steps, options) for options in (sets, inputs, stored))
    before: list[FilledStep] = []
    made: list[Prepared] = []
    for number, (app, presets) in enumerate(steps):
        typed = read_typed(app, own_sets[number], own_inputs[number], own_stored[number], data)
        try:
            given = preset_values(presets, app, before)
            take_stored(app, given, typed, data)
            prepared = complete(app, {**given, **typed.values}, typed, data)
        except InvalidInput as error:
            raise labelled(app, error) from None
        before.append(FilledStep(app, prepared.settings))
        made.append(prepared)
    return made


def _by_step(steps: Sequence[_Step], options: Iterable[str]) -> list[list[str]]:
    """The options of each step."""
    own: list[list[str]] = [[] for _ in steps]
    for text in options:
        number, option = _assigned(steps, text)
        own[number].append(option)
    return own


def _assigned(steps: Sequence[_Step], text: str) -> tuple[int, str]:
    """The step that an option is for, and the option without the step's number. Raises InvalidInput."""
    numbered = re.fullmatch(r"([0-9]{1,4}):(.*)", text, re.DOTALL)
    option = numbered[2] if numbered else text
    numbers = [int(numbered[1])] if numbered else range(len(steps))
    if numbers[-1] >= len(steps):
        raise InvalidInput(f"{text}: the workflow has no step {numbers[-1]}; they are counted from 0")
    names = {number: split(steps[number][0], option)[0] for number in numbers}
    having = [number for number, name in names.items() if control_of(steps[number][0], name)]
    if not having:
        controls = [control for number in numbers for control in steps[number][0].controls()]
        refuse_name("the workflow", names[numbers[0]], {key: control.label for control in controls for key in control.keys})
    free = [number for number in having if not _is_fixed(steps[number][1], names[number])]
    if not free:
        raise InvalidInput(f"{names[having[0]]} is set by the workflow itself")
    if len(free) > 1:
        which = " or ".join(f"{number}:{names[number]} ({steps[number][0].name})" for number in free)
        raise InvalidInput(f"{names[free[0]]} is a field of several steps: say {which}")
    return free[0], option


def _is_fixed(presets: Iterable[Preset], name: str) -> bool:
    return any(one.name == name and (one.from_tool is not None or one.visibility in FIXED) for one in presets)
