"""An installation on a real cloud that builds a template and copies it, by the commands that an administrator types."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.home.installation import installation_id
from server.progress import Lines
from server.settings import Settings
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.cloud import OpenstackCloud
from server.workers.clouds.openstack.template.kept import TEMPLATE

CUMULUS = str(Path(sys.executable).with_name("cumulus"))
COMMAND_LIMIT_S = 3600.0


@dataclass(frozen=True)
class Installation:
    """One that builds a template, and the environment of its commands. ``kept``: the template was there before, and stays."""

    settings: Settings
    environment: dict[str, str]
    kept: bool

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [CUMULUS, *words],
            env=self.environment,
            cwd=self.settings.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # as in a terminal of its own
        )

    def run(self, *words: str) -> str:
        """A command that succeeds; what it prints."""
        process = self.start(*words)
        told, _ = process.communicate(timeout=COMMAND_LIMIT_S)
        assert process.returncode == 0, told
        return told

    def break_off(self, *words: str, at: str) -> None:
        """Type Ctrl-C as soon as the command prints that; it ends within a minute and a half."""
        process = self.start(*words)
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if at in line:
                break
        else:
            pytest.fail(f"it never said {at!r}, but {''.join(said)}")
        time.sleep(2)  # in the middle of it
        os.killpg(process.pid, signal.SIGINT)  # a terminal tells all that run in it
        process.communicate(timeout=90)
        assert process.returncode != 0

    def names(self) -> list[str]:
        return [line.split()[-3] for line in self.run("snapshot", "list").splitlines()]

    def promoted(self) -> list[str]:
        return [line.split()[1] for line in self.run("snapshot", "list").splitlines() if line.startswith("*")]

    def left(self) -> list[str]:
        """What the cloud has of this installation or its template beside the template's volume and what is promoted."""
        found = [f"{one.kind} of {one.worker}" for one in self.cloud.resources()]
        with Access(self.settings).use() as cloud:
            servers = [one.name for one in cloud.compute.servers() if (one.metadata or {}).get(TEMPLATE) == self.template]
            snapshots = [one for one in cloud.block_storage.snapshots() if (one.metadata or {}).get(TEMPLATE) == self.template]
        return found + servers + [one.name for one in snapshots if "cumulus_promoted" not in one.metadata]

    def clear(self) -> None:
        """Remove all of the template, also what Cumulus itself never does."""
        template = self.cloud.images.template()
        template.stop(Lines(print))
        copies, originals = template.copies, template.originals
        for one in [*copies.fetch(), *copies.unfinished()]:
            copies.remove(one)
        for one in [] if self.kept else originals.fetch():
            originals.remove(one)

    @property
    def cloud(self) -> OpenstackCloud:
        return OpenstackCloud(self.settings, installation_id(self.settings.home))

    @property
    def template(self) -> str:
        return self.settings.openstack_template
