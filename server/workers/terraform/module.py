"""One Terraform module and its workspaces, driven through python-terraform.

Owns where its states and variables lie, the environment that terraform gets, and that one terraform is at a workspace at a time.
Knows nothing of jobs or clouds.
"""

import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
from pydantic import SecretStr
from python_terraform import IsFlagged

from programs.errors import explained
from server.errors import SetupMissing
from server.home.files import clear, open_lock, own_folder, read_own_text, remove_own, unfinished, write_own
from server.workers.clouds.machine_locks import exclusive, is_held
from server.workers.terraform.initialisation import LOCK_FILE, Readiness
from server.workers.terraform.process import Command, first_error, last_object
from server.workers.terraform.process import TerraformError as TerraformError
from server.workers.terraform.state_file import clear_way, is_state, read_state
from server.workers.terraform.state_lock import Lock, read_lock

INIT_TIMEOUT_S = 120.0
LOCK_TIMEOUT_S = 10
LOCK_TIMEOUT = f"{LOCK_TIMEOUT_S}s"
DIFFERS = 2  # exit code of a plan that would change something
WORKSPACE = re.compile(r"[a-z][a-z0-9-]{0,62}")
# Go's: a terraform that lives for a tenth of a second, and collects no garbage then, takes a fifth less CPU and no more memory.
COLLECT_NOTHING = {"GOGC": "off", "GOMEMLIMIT": "256MiB"}
log = structlog.get_logger()


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
    ``env``: its further variables, ``in_words``: what it says, as people are to read it.
    """

    def __init__(
        self,
        path: Path,
        home: Path,
        binary: str,
        env: Callable[[], dict[str, str]],
        in_words: Callable[[str], str] = str,
    ) -> None:
        self.path = path if (path / LOCK_FILE).is_file() or not _wants_provider(path) else home / "module"
        self.home = home
        self._binary = binary
        self._env = env
        self._in_words = in_words
        self._ready = Readiness(path, self.path, home, binary, self._run_init)

    def apply(self, workspace: str, variables: Mapping[str, object], timeout_s: float) -> dict[str, Any]:
        """Make what the module describes, or find that it is there; returns the outputs.

        Repeating it with the same variables changes nothing. A SecretStr among them is given in the environment and is in no
        file. What lies where the state should be, and is none, is set aside: the caller has looked what the cloud has of it.
        Raises TerraformError, InTheWay.
        """
        self._init()
        secrets = {name: value.get_secret_value() for name, value in variables.items() if isinstance(value, SecretStr)}
        var_file = self._variables_file(workspace)
        options = {
            "var": None,
            "skip_plan": True,
            "var_file": str(var_file),
            "lock_timeout": LOCK_TIMEOUT,
            "compact_warnings": IsFlagged,
        }
        with self._alone(workspace, LOCK_TIMEOUT_S):
            plain = {name: value for name, value in variables.items() if name not in secrets}
            write_own(var_file, json.dumps(plain, indent=1) + "\n", 0o644)
            self._clear_way(workspace)
            self._check("apply", self._command(workspace, timeout_s, secrets=secrets).apply(**options))
        if not (outputs := self.outputs(workspace)):
            raise TerraformError(f"terraform apply: it was successful, and yet there are no outputs in the state of {workspace}")
        return outputs

    def destroy(self, workspace: str, timeout_s: float) -> None:
        """Remove what the workspace holds, then the workspace; not an error where it is gone. Raises TerraformError, InTheWay."""
        var_file = self._variables_file(workspace)
        with self._alone(workspace, timeout_s):
            if workspace in self.workspaces():
                self._destroy(workspace, var_file, timeout_s)
            for path in (var_file, self._words(workspace), *unfinished(var_file)):
                remove_own(path)

    def _destroy(self, workspace: str, var_file: Path, timeout_s: float) -> None:
        if not self.state(workspace).get("resources") and not self.is_locked(workspace):
            return self._forget(workspace)
        self._init()
        self._clear_way(workspace)
        options = {"var": None, "force": None, "auto_approve": True, "refresh": False, "lock_timeout": LOCK_TIMEOUT}
        options["var_file"] = str(var_file)
        self._check("destroy", self._command(workspace, timeout_s).destroy(**options))
        self._forget(workspace)

    def _forget(self, workspace: str) -> None:
        """What `terraform workspace delete` does on this backend, without starting a terraform for it."""
        if left := self.state(workspace).get("resources"):
            raise TerraformError(f"terraform destroy: {len(left)} resources are left in the state of {workspace}")
        clear(self.state_file(workspace).parent)

    def set_aside(self, workspace: str) -> Path | None:
        """Take the workspace out of terraform's sight, for whoever wants to look at its state, which is of no use any more.

        Returns where it lies now, None where there was none.
        """
        var_file = self._variables_file(workspace)
        with self._alone(workspace, LOCK_TIMEOUT_S):
            aside = self._set_state_aside(workspace)
            for path in (var_file, *unfinished(var_file)):
                remove_own(path)
        return aside

    def _set_state_aside(self, workspace: str) -> Path | None:
        """Not beside its place, where Terraform would take it for another workspace."""
        source = self.state_file(workspace).parent
        if not os.path.lexists(source):
            return None
        own_folder(self.home / "broken")
        aside = self.home / "broken" / f"{workspace}.{time.strftime('%Y%m%d-%H%M%S')}"
        shutil.rmtree(aside, ignore_errors=True)
        source.rename(aside)
        return aside

    def _clear_way(self, workspace: str) -> None:
        """What terraform would wait for, or refuse for ever, is set aside."""
        if not self.is_readable(workspace):
            aside = self._set_state_aside(workspace)
            log.warning("a workspace's state cannot be used; it is set aside", workspace=workspace, kept=str(aside))
        clear_way(self.state_file(workspace))

    def drift(self, workspace: str, timeout_s: float, scratch: Path) -> dict[str, Any]:
        """What a plan finds to differ between state and cloud, as ``terraform show -json`` writes it; empty: nothing does.

        Neither changes the state nor locks it, so that no terraform at work has to wait; ``scratch``: a private folder for the
        plan, which may hold what is secret. Raises TerraformError.
        """
        self._init()
        words, plan = scratch / "words.txt", scratch / "plan"
        options = {"var": None, "refresh_only": IsFlagged, "lock": False, "out": str(plan), "compact_warnings": IsFlagged}
        options["var_file"] = str(self._variables_file(workspace))
        try:
            answer = self._command(workspace, timeout_s, words=words).plan(**options)
        finally:
            self._leave_no_folder(workspace)
        if answer[0] != DIFFERS:
            self._check("plan", answer)
            return {}
        shown = self._command(workspace, timeout_s, words=words).show_cmd(str(plan), json=IsFlagged, no_color=IsFlagged)
        self._check("show", shown)
        return last_object(shown[1])

    def _leave_no_folder(self, workspace: str) -> None:
        """A plan makes the folder of a workspace again that was removed as it began."""
        if not self.state_file(workspace).exists():
            with suppress(OSError):
                self.state_file(workspace).parent.rmdir()

    def lock(self, workspace: str) -> Lock | None:
        """Who holds the lock on the workspace's state, or has left one; None where it is free."""
        return read_lock(self.state_file(workspace))

    def is_at_work(self, workspace: str) -> bool:
        """Whether a terraform is at the workspace now: this installation's, or anybody's that holds the state's lock."""
        return is_held(self._turns, workspace) or self.is_locked(workspace)

    def is_locked(self, workspace: str) -> bool:
        """Whether somebody holds the lock on the workspace's state now."""
        held = self.lock(workspace)
        return held is not None and held.is_held

    def made(self, workspace: str) -> dict[str, tuple[str, bool]]:
        """Address -> id, and whether it was left half made, of what the workspace's state has of the cloud's things."""
        found: dict[str, tuple[str, bool]] = {}
        for one in self.state(workspace).get("resources", []):
            for instance in one.get("instances", []) if one.get("mode") == "managed" else ():
                identifier = str(instance.get("attributes", {}).get("id") or "")
                number = f"[{instance['index_key']}]" if isinstance(instance.get("index_key"), int) else ""
                found[f"{one.get('type')}.{one.get('name')}{number}"] = identifier, instance.get("status") == "tainted"
        return found

    def adopt(self, workspace: str, address: str, identifier: str, timeout_s: float) -> None:
        """Have the state say that a thing is there, whole: an apply left it half made, or never heard of it.

        Nothing is made or changed in the cloud. Raises TerraformError.
        """
        self._init()
        known = self.made(workspace).get(address)
        if known == (identifier, False):
            return
        with self._alone(workspace, LOCK_TIMEOUT_S):
            if known is not None and known[0] == identifier:
                self._check("untaint", self._command(workspace, timeout_s).cmd("untaint", address, lock_timeout=LOCK_TIMEOUT))
                return
            options = {"var_file": str(self._variables_file(workspace)), "input": False, "lock_timeout": LOCK_TIMEOUT}
            self._check("import", self._command(workspace, timeout_s).cmd("import", address, identifier, **options))

    def is_readable(self, workspace: str) -> bool:
        """Whether the workspace's state can be read, or there is none: a terraform that is killed may leave half a file."""
        return is_state(self.state_file(workspace))

    def can_destroy(self, workspace: str) -> bool:
        """Whether terraform can remove what the workspace holds: that takes its state, and the values that it was made with."""
        return self.is_readable(workspace) and bool(not self.state(workspace).get("resources") or self.variables(workspace))

    def workspaces(self) -> list[str]:
        """Names of the workspaces that have a state."""
        found = (entry.name for entry in self.states.iterdir()) if self.states.is_dir() else ()
        return sorted(name for name in found if WORKSPACE.fullmatch(name))

    def names(self) -> list[str]:
        """The workspaces, and what has left no more than its variables' file here."""
        found = (path.name.partition(".")[0] for path in self.variable_files.glob("*.tfvars.json"))
        return sorted({*self.workspaces(), *(name for name in found if WORKSPACE.fullmatch(name))})

    def state(self, workspace: str) -> dict[str, Any]:
        """The workspace's state as terraform wrote it; empty where there is none."""
        return read_state(self.state_file(workspace))

    def outputs(self, workspace: str) -> dict[str, Any]:
        """The outputs in the workspace's state; empty where there is none."""
        return {name: output["value"] for name, output in (self.state(workspace).get("outputs") or {}).items()}

    def variables(self, workspace: str) -> dict[str, Any]:
        """The variables that the workspace was last applied with; empty where it never was, or they cannot be read."""
        try:
            found = json.loads(read_own_text(self._variables_file(workspace)))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

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

    def state_file(self, workspace: str) -> Path:
        """Where Terraform keeps the workspace's state. Raises TerraformError where that cannot be a workspace's name."""
        return self.states / workspace / "terraform.tfstate"

    @property
    def states(self) -> Path:
        """The workspaces' states, a folder for each."""
        return self._ready.states

    @property
    def variable_files(self) -> Path:
        """The values that each workspace was last applied with, a file for each."""
        return self.home / "vars"

    @property
    def _turns(self) -> Path:
        return self.home / "workspaces.lock"

    @contextmanager
    def _alone(self, workspace: str, limit_s: float) -> Iterator[None]:
        """No second terraform of this installation, of whichever process, is at the workspace meanwhile.

        What the system refuses within it is told as a failure of terraform's.
        """
        try:
            with exclusive(self._turns, workspace, limit_s):
                yield
        except OSError as problem:
            raise TerraformError(f"terraform's files of {workspace} cannot be used: {explained(problem)}") from problem

    def _command(
        self,
        workspace: str,
        timeout_s: float,
        *,
        own_providers: bool = False,
        secrets: Mapping[str, str] | None = None,
        words: Path | None = None,
    ) -> Command:
        """``own_providers``: without those that the controller keeps running; a plain terraform needs its own.

        ``secrets``: variables that are in no file; ``words``: where its words go, default: one file for each workspace.
        """
        environment = {**COLLECT_NOTHING, **os.environ, **self._env(), **self.environment(workspace)}
        environment.update({f"TF_VAR_{name}": value for name, value in (secrets or {}).items()})
        if own_providers:
            environment.pop("TF_REATTACH_PROVIDERS", None)
        return Command(self.path, self._binary, environment, timeout_s, words or self._words(workspace))

    def _words(self, worker: str) -> Path:
        return self.home / "output" / f"{worker}.txt"

    def _check(self, what: str, answer: tuple[int, str, str]) -> None:
        code, out, err = answer
        if code:
            self._ready.doubt(out + err)
            out, err = self._in_words(out), self._in_words(err)
            raise TerraformError(f"terraform {what}: {first_error(err or out)}", out + err)

    def _variables_file(self, workspace: str) -> Path:
        if not WORKSPACE.fullmatch(workspace):
            raise TerraformError(f"{workspace!r} cannot be a workspace's name")
        return self.variable_files / f"{workspace}.tfvars.json"

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
        backend = {"path": self._ready.default_state, "workspace_dir": self.states}
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
