"""The ``cumulus`` command: a table of its subcommands, each imported only when it is called.

Owns names, their order in the help and the set-up of log lines; what a command does is in the module that the table names.
"""

import logging
import sys

import click

from programs.errors import Expected
from programs.version import VERSION
from server.cli.shared.lazy import Command, LazyCommands

SECTIONS = {
    "Jobs": {
        "submit": Command("server.cli.submit:submit", "Submit a job of an app; prints its number."),
        "workflow": Command("server.cli.workflow:workflow", "Workflows: several apps, each on the results of others."),
        "batch": Command("server.cli.batch.commands:batch", "Many jobs of one app, followed and retried as one."),
        "preset": Command("server.cli.preset:preset", "Named forms, your own and those of your groups."),
        "jobs": Command("server.cli.jobs:jobs", "List the newest jobs."),
        "show": Command("server.cli.jobs:show", "Show one job: its state, its events, its result files."),
        "logs": Command("server.cli.jobs:logs", "Print a job's log, from its submission on."),
        "get": Command("server.cli.results:get", "Copy a job's result files to a folder."),
        "cancel": Command("server.cli.jobs:cancel", "End a job, whatever it is doing."),
        "delete": Command("server.cli.jobs:delete", "Delete an ended job, with its files."),
        "retry": Command("server.cli.record:retry", "Run a job that failed once more, with its files."),
        "record": Command("server.cli.record:record", "Print what a run was made of, or compare two runs."),
        "rerun": Command("server.cli.record:rerun", "Submit a job once more, as it was."),
        "apps": Command("server.cli.apps:apps", "List apps and their forms; check, try and begin an app's XML."),
    },
    "Queue and machines": {
        "queue": Command("server.cli.queue:queue", "Show what waits, in which order, and why."),
        "priority": Command("server.cli.queue:priority", "Let a waiting job begin earlier or later."),
        "drain": Command("server.cli.queue:drain", "Begin no more jobs, for maintenance."),
        "resume": Command("server.cli.queue:resume", "Begin jobs again."),
        "state": Command("server.cli.state:state", "List the machines' Terraform workspaces; repair one."),
        "hold": Command("server.cli.machines:hold", "Keep the machine of a job that fails, for inspection."),
        "orphans": Command("server.cli.machines:orphans", "List or remove what the cloud has and no job accounts for."),
        "usage": Command("server.cli.installation.usage:usage", "What was used of machines and storage, and by whom."),
        "quota": Command("server.cli.machines:quota", "List the cloud's limits and how much of them is used."),
        "flavors": Command("server.cli.flavors:flavors", "The sizes of machines."),
        "template": Command("server.cli.template:template", "The machine that workers are copies of."),
        "snapshot": Command("server.cli.snapshot:snapshot", "Copies of the template's disk; workers start from one."),
    },
    "Accounts": {
        "login": Command("server.cli.accounts.login:login", "Have commands ask a controller elsewhere."),
        "logout": Command("server.cli.accounts.login:logout", "Ask this computer's controller again."),
        "user": Command("server.cli.accounts.user:user", "Users: who may log in, and as what."),
        "group": Command("server.cli.accounts.group:group", "Groups: teams whose members may see each other's jobs."),
        "token": Command("server.cli.accounts.token:token", "API tokens, for programs and other computers."),
        "audit": Command("server.cli.accounts.audit:audit", "List who has changed what, and what was refused."),
    },
    "Installation": {
        "serve": Command("server.cli.installation.serve:serve", "Run the controller until SIGTERM or Ctrl-C."),
        "stop": Command("server.cli.machines:stop", "End the controller in order."),
        "doctor": Command("server.cli.installation.doctor:doctor", "Say what this computer lacks and how to get it."),
        "storage": Command("server.cli.installation.storage:storage", "The shared files; how full the storage is; clean it."),
        "db": Command("server.cli.installation.db:db", "The database: back it up, or make it anew."),
        "completion": Command("server.cli.completion:completion", "Print what a shell needs to complete commands."),
        "import-former": Command(
            "server.cli.installation.import_former:import_former", "Take over the jobs of a former server (2.x)."
        ),
    },
}


def _unusable(problem: Exception) -> Expected:
    from server.db.errors import unusable

    return unusable(problem)


@click.group(cls=LazyCommands, sections=SECTIONS, program="cumulus", unusable=_unusable)
@click.version_option(VERSION, prog_name="cumulus")
def main() -> None:
    """Run heavy programs on machines that live as long as the job."""
    import structlog  # not before a command runs

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=("timestamp", "level", "event"), bool_as_flag=False),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # as it is then: some commands replace it
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
