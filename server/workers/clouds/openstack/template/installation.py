"""Installing the worker's programs and the apps on the template's machine, by the template's playbook."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from programs.interruption import shielded
from server.errors import InfrastructureError
from server.progress import Progress, repeating
from server.settings import Settings
from server.workers.ansible.connection import Host
from server.workers.ansible.playbooks import Playbooks, current_task
from server.workers.clouds.ssh import Login

PLAY_LIMIT_S = 7200.0


def install(settings: Settings, playbooks: Playbooks, worker: str, login: Login, progress: Progress) -> None:
    """Play it on the machine that the login leads to. Raises InfrastructureError, and then leaves the machine running."""
    directory = settings.home / "plays" / f"{worker}.build"
    host = Host(worker, "ssh", login.address, login.port, login.user, login.host_key, login.key)
    playbooks.announce(directory, host)
    variables = {
        **settings.template_variables,
        "worker_base_cloud": "openstack",
        "template_become": login.user != "root",
        "converters_archives": [one.model_dump(mode="json", exclude_none=True) for one in settings.converters],
    }
    log = settings.home / "openstack" / "build.log"
    with progress.step("Installing the worker's programs and the apps") as step:
        with _interruption() as interrupted, repeating(lambda: step.note(current_task(directory))):
            outcome = playbooks.run("template.yml", directory, variables, PLAY_LIMIT_S, interrupted)
        log.write_text(outcome.output)
        if not outcome.ok:
            raise InfrastructureError(
                f"the template's playbook failed: {outcome.message} (output: {log}). The machine keeps running for inspection: "
                "`cumulus template build` tries again, `cumulus template stop` ends it"
            )


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Within the block no signal breaks off: the function says that one came, and it counts at the block's end."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    with shielded() as shield:
        yield lambda: shield.struck
