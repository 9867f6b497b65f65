"""One Terraform module of ``infra/terraform``: apply, destroy, plan and adopt, driven through python-terraform.

Owns the order of terraform's commands and the environment that they get. Files are the state store's, and whose turn it is the
locks'. Knows nothing of jobs or clouds.
"""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from python_terraform import IsFlagged

from programs.errors import explained
from server.errors import SetupMissing
from server.home.files import open_lock, remove_own
from server.workers.terraform.initialisation import LOCK_FILE, Readiness
from server.workers.terraform.process import Command, first_error, last_object
from server.workers.terraform.process import TerraformError as TerraformError
from server.workers.terraform.state_store import StateStore
from server.workers.terraform.workspace_locks import WorkspaceLocks

INIT_TIMEOUT_S = 120.0
LOCK_TIMEOUT_S = 10
LOCK_TIMEOUT = f"{LOCK_TIMEOUT_S}s"
DIFFERS = 2  # exit code of a plan that would change something
# Go's: a terraform that lives for a tenth of a second, and collects no garbage then, takes a fifth less CPU and no more memory.
COLLECT_NOTHING = {"GOGC": "off", "GOMEMLIMIT": "256MiB"}


def terraform_binary(search: str | None = None) -> str:
    """The terraform or tofu program to use. Raises SetupMissing.

    ``search``: folders as in ``PATH``; default: ``PATH``, then the virtual environment, where the set-up puts one that a Python
    package carries.
    """
    folders = search or os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.prefix) / "bin")])
    for name in ("terraform", "tofu"):
        if found := shutil.which(name, path=folders):
            return found
    raise SetupMissing(
        "neither terraform nor tofu is installed: scripts/setup.sh installs one, or see "
        "https://developer.hashicorp.com/terraform/install or https://opentofu.org/docs/intro/install"
    )


class TerraformModule:
    """A module of ``infra/terraform`` with one workspace for each machine; data and state lie under ``home``.

    A module without a lock file takes its provider from where this computer gets one, so its checksum is not ours to fix:
    terraform works on a copy below ``home`` then, and notes there which provider it took first. ``path`` is where it works.
    ``env``: further variables of its environment; ``translate``: makes what it prints fit to be shown, see
    ``Cloud.translate_output``.
    """

    def __init__(
        self,
        path: Path,
        home: Path,
        binary: str,
        env: Callable[[], dict[str, str]],
        translate: Callable[[str], str] = str,
    ) -> None:
        self.path = path if (path / LOCK_FILE).is_file() or not _wants_provider(path) else home / "module"
        self.home = home
        self.store = StateStore(home)
        self.locks = WorkspaceLocks(self.store)
        self._binary = binary
        self._env = env
        self._translate = translate
        self._ready = Readiness(path, self.path, home, binary, self._run_init)

    def apply(self, workspace: str, variables: Mapping[str, object], timeout_s: float) -> dict[str, Any]:
        """Make what the module describes, or find that it is there; returns the outputs.

        Repeating it with the same variables changes nothing. A SecretStr among them is given in the environment and is in no
        file. A file in the state's place that is no state is set aside: the caller has asked the cloud what there is of the
        machine. Raises TerraformError, InTheWay.
        """
        self._init()
        secrets = {name: value.get_secret_value() for name, value in variables.items() if isinstance(value, SecretStr)}
        options = {
            "var": None,
            "skip_plan": True,
            "var_file": str(self.store.variable_files.path(workspace)),
            "lock_timeout": LOCK_TIMEOUT,
            "compact_warnings": IsFlagged,
        }
        with self.locks.exclusive(workspace, LOCK_TIMEOUT_S):
            plain = {name: value for name, value in variables.items() if name not in secrets}
            self.store.variable_files.write(workspace, plain)
            self.store.make_usable(workspace)
            self._check("apply", self._command(workspace, timeout_s, secrets=secrets).apply(**options))
        if not (outputs := self.store.outputs(workspace)):
            raise TerraformError(f"terraform apply: it was successful, and yet there are no outputs in the state of {workspace}")
        return outputs

    def destroy(self, workspace: str, timeout_s: float) -> None:
        """Remove what the workspace holds, then the workspace; not an error where it is gone. Raises TerraformError, InTheWay."""
        var_file = self.store.variable_files.path(workspace)
        with self.locks.exclusive(workspace, timeout_s):
            if workspace in self.store.workspaces():
                self._destroy(workspace, var_file, timeout_s)
            self.store.variable_files.remove(workspace)
            remove_own(self._output_file(workspace))

    def _destroy(self, workspace: str, var_file: Path, timeout_s: float) -> None:
        if self.store.state(workspace).get("resources") or self.locks.is_state_locked(workspace):
            self._init()
            self.store.make_usable(workspace)
            options = {"var": None, "force": None, "auto_approve": True, "refresh": False, "lock_timeout": LOCK_TIMEOUT}
            options["var_file"] = str(var_file)
            self._check("destroy", self._command(workspace, timeout_s).destroy(**options))
        self.store.forget(workspace)

    def set_aside(self, workspace: str) -> Path | None:
        """Take the workspace out of terraform's sight, and keep its state for whoever wants to look at it.

        Returns where it lies now, None where there was none.
        """
        self.store.variable_files.path(workspace)  # raises for what can be no workspace
        with self.locks.exclusive(workspace, LOCK_TIMEOUT_S):
            aside = self.store.set_aside(workspace)
            self.store.variable_files.remove(workspace)
        return aside

    def drift(self, workspace: str, timeout_s: float, scratch: Path) -> dict[str, Any]:
        """What a plan finds to differ between state and cloud, as ``terraform show -json`` writes it; empty: nothing does.

        Neither changes the state nor locks it, so that no terraform at work has to wait; ``scratch``: a private folder for the
        plan, which may hold what is secret. Raises TerraformError.
        """
        self._init()
        output, plan = scratch / "words.txt", scratch / "plan"
        options = {"var": None, "refresh_only": IsFlagged, "lock": False, "out": str(plan), "compact_warnings": IsFlagged}
        options["var_file"] = str(self.store.variable_files.path(workspace))
        try:
            answer = self._command(workspace, timeout_s, output=output).plan(**options)
        finally:
            self.store.remove_empty(workspace)
        if answer[0] != DIFFERS:
            self._check("plan", answer)
            return {}
        shown = self._command(workspace, timeout_s, output=output).show_cmd(str(plan), json=IsFlagged, no_color=IsFlagged)
        self._check("show", shown)
        return last_object(shown[1])

    def adopt(self, workspace: str, address: str, identifier: str, timeout_s: float) -> None:
        """Put a resource that the cloud has into the state, whole: an apply left it half made, or never heard of it.

        Nothing is made or changed in the cloud. Raises TerraformError.
        """
        self._init()
        known = self.store.made(workspace).get(address)
        if known == (identifier, False):
            return
        with self.locks.exclusive(workspace, LOCK_TIMEOUT_S):
            if known is not None and known[0] == identifier:
                self._check("untaint", self._command(workspace, timeout_s).cmd("untaint", address, lock_timeout=LOCK_TIMEOUT))
                return
            var_file = self.store.variable_files.path(workspace)
            options = {"var_file": str(var_file), "input": False, "lock_timeout": LOCK_TIMEOUT}
            self._check("import", self._command(workspace, timeout_s).cmd("import", address, identifier, **options))

    def environment(self, workspace: str) -> dict[str, str]:
        """What an administrator's plain terraform needs too, beside the inherited variables."""
        return {
            "TF_DATA_DIR": str(self.data),
            "TF_WORKSPACE": workspace,
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }

    @property
    def data(self) -> Path:
        """Terraform's own folder for this module: what it downloaded, the backend's configuration."""
        return self._ready.data

    def _command(
        self,
        workspace: str,
        timeout_s: float,
        *,
        own_providers: bool = False,
        secrets: Mapping[str, str] | None = None,
        output: Path | None = None,
    ) -> Command:
        """``own_providers``: without those that the controller keeps running; a plain terraform needs its own.

        ``secrets``: variables that are in no file; ``output``: the file for what it prints, default: one for each workspace.
        """
        environment = {**COLLECT_NOTHING, **os.environ, **self._env(), **self.environment(workspace)}
        environment.update({f"TF_VAR_{name}": value for name, value in (secrets or {}).items()})
        if own_providers:
            environment.pop("TF_REATTACH_PROVIDERS", None)
        return Command(self.path, self._binary, environment, timeout_s, output or self._output_file(workspace))

    def _output_file(self, workspace: str) -> Path:
        return self.home / "output" / f"{workspace}.txt"

    def _check(self, what: str, answer: tuple[int, str, str]) -> None:
        code, out, err = answer
        if code:
            self._ready.invalidate(out + err)
            out, err = self._translate(out), self._translate(err)
            raise TerraformError(f"terraform {what}: {first_error(err or out)}", out + err)

    def _init(self) -> None:
        """Initialise once per module and version of its text; other processes on this home wait for the first."""
        if self._ready.holds():
            return
        try:
            with self._exclusive():
                if not self._ready.holds():
                    self._ready.make()
        except OSError as problem:
            raise TerraformError(f"terraform's own files cannot be used: {explained(problem)}") from problem

    def _run_init(self) -> None:
        backend = {"path": self._ready.default_state, "workspace_dir": self.store.states}
        options: dict[str, object] = {"var": None, "backend_config": backend, "reconfigure": IsFlagged}
        if self.path != self.home / "module":
            options["lockfile"] = "readonly"
        self._check("init", self._command("default", INIT_TIMEOUT_S, own_providers=True).init(**options))

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with open_lock(self.home / "init.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _wants_provider(path: Path) -> bool:
    """Whether the module needs one that is not built into terraform."""
    return any("required_providers" in file.read_text() for file in path.glob("*.tf"))
