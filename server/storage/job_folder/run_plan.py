"""The run plan: all that the runner on a worker needs to know beside the command.

Owns the format of ``.cumulus.plan`` on this side. The runner reads it with
``cumulus_runner/orders.py``, which ignores fields that it does not know.
"""

from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True)
class PlannedInput:
    """One input file of a job: where it is, what it is called for the app, and how it becomes that.

    ``shared``: in the data folder, as only jobs planned before 2.4 have any. ``keep``: what was made of it is left in the folder
    for other jobs. ``accepts``: what the app reads (docs/apps.md), None: what most do; ``rewrite``: how mzML that it does not
    read is made into one that it does. ``alone``: where the file cannot be used, the job runs with the others of its
    ``group``, the field that names them. ``expected``: the checksum that the file must have (``sha256:…``).
    """

    name: str
    shared: bool
    target: str
    convert: tuple[str, ...] | None = None
    unless_indexed: bool = False
    keep: bool = False
    accepts: tuple[str, ...] | None = None
    rewrite: tuple[str, ...] | None = None
    alone: bool = False
    group: str = ""
    expected: str | None = None


@dataclass(frozen=True)
class PlannedRun:
    """One run of an app that takes its files one by one: the file, its name for the app, and the shell text for it."""

    name: str
    target: str
    command: str


@dataclass(frozen=True)
class Plan:
    """All that the runner on the worker needs to know beside the command; the content of ``.cumulus.plan``.

    ``lease_s``: seconds that the machine may go on without a word from the controller. ``results_wait_s``: how long its end waits
    for room in a full storage. ``log_limit``: bytes of the app's lines in the log. ``reserve``: bytes of a disk that a growing
    log leaves free. ``runs``: empty where the app runs once. ``stall_timeout_s``: seconds that a program may do nothing,
    ``max_tasks``: its processes and threads; 0: any number. ``internet``: the app may use it. The rest is as in
    :class:`server.catalog.model.Findings`.
    """

    job_id: int
    attempt: int
    worker: str
    cpus: int
    inputs: tuple[PlannedInput, ...]
    copy_inputs: bool = False
    end_tag: str | None = None
    end_tag_location: str | None = None
    lease_s: float = 0.0
    results_wait_s: float = 0.0
    log_limit: int = 512_000_000
    reserve: int = 0
    runs: tuple[PlannedRun, ...] = ()
    app: str = ""
    stall_timeout_s: float = 0.0
    max_tasks: int = 0
    input_error_codes: tuple[int, ...] = ()
    input_error: str = ""
    summary: str = ""
    summary_command: str = ""
    warn_if_zero: tuple[str, ...] = ()
    internet: bool = False
    version: int = VERSION
