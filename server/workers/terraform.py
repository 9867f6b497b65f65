"""One Terraform module and its workspaces, driven through python-terraform.

Owns where its states and variables lie, the environment that terraform gets, and that one terraform is at a workspace at a time.
Knows nothing of jobs or clouds.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from python_terraform import IsFlagged

from server.errors import SetupMissing
from server.workers.calls import Command, first_error, last_object
from server.workers.calls import TerraformError as TerraformError
from server.workers.clouds.locks import exclusive, is_held
from server.workers.statelock import Lock, read_lock

INIT_TIMEOUT_S = 120.0
LOCK_FILE = ".terraform.lock.hcl"
INIT_FORMAT = 2  # raise it where an initialisation of an earlier version does not serve any more
LOCK_TIMEOUT_S = 10
LOCK_TIMEOUT = f"{LOCK_TIMEOUT_S}s"
DIFFERS = 2  # exit code of a plan that would change something
WORKSPACE = re.compile(r"[a-z][a-z0-9-]{0,62}")
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


class Module:
    """A module of ``infra/terraform`` with one workspace for each machine; data and state lie under ``home``.

    A module without a lock file takes its provider from where this computer gets one, so its checksum is not ours to fix:
    terraform works on a copy below ``home`` then, and notes there which provider it took first. ``path`` is where it works.
    """

    def __init__(self, path: Path, home: Path, binary: str, env: Callable[[], dict[str, str]]) -> None:
        self._source = path
        self.path = path if (path / LOCK_FILE).is_file() or not _wants_provider(path) else home / "module"
        self.home = home
        self._binary = binary
        self._env = env

    def apply(self, workspace: str, variables: Mapping[str, object], timeout_s: float) -> dict[str, Any]:
        """Make what the module describes, or find that it is there; returns the outputs.

        Repeating it with the same variables changes nothing. A SecretStr among them is given in the environment and is in no
        file. Raises TerraformError.
        """
        self._init()
        secrets = {name: value.get_secret_value() for name, value in variables.items() if isinstance(value, SecretStr)}
        var_file = self._write_variables(workspace, {name: value for name, value in variables.items() if name not in secrets})
        options = {
            "var": None,
            "skip_plan": True,
            "var_file": str(var_file),
            "lock_timeout": LOCK_TIMEOUT,
            "compact_warnings": IsFlagged,
        }
        with self._alone(workspace, LOCK_TIMEOUT_S):
            self._check("apply", self._command(workspace, timeout_s, secrets=secrets).apply(**options))
        if not (outputs := self.outputs(workspace)):
            raise TerraformError(f"terraform apply: it was successful, and yet there are no outputs in the state of {workspace}")
        return outputs

    def destroy(self, workspace: str, timeout_s: float) -> None:
        """Remove what the workspace holds, then the workspace; not an error where it is gone. Raises TerraformError."""
        var_file = self._variables_file(workspace)
        with self._alone(workspace, timeout_s):
            if workspace in self.workspaces():
                self._destroy(workspace, var_file, timeout_s)
            for path in (var_file, self._words(workspace)):
                path.unlink(missing_ok=True)

    def _destroy(self, workspace: str, var_file: Path, timeout_s: float) -> None:
        self._init()
        options = {"var": None, "force": None, "auto_approve": True, "refresh": False, "lock_timeout": LOCK_TIMEOUT}
        options["var_file"] = str(var_file)
        self._check("destroy", self._command(workspace, timeout_s).destroy(**options))
        self._forget(workspace)

    def _forget(self, workspace: str) -> None:
        """What `terraform workspace delete` does on this backend, without starting a terraform for it."""
        if left := self.state(workspace).get("resources"):
            raise TerraformError(f"terraform destroy: {len(left)} resources are left in the state of {workspace}")
        shutil.rmtree(self.state_file(workspace).parent)

    def set_aside(self, workspace: str) -> Path | None:
        """Take the workspace out of terraform's sight, for whoever wants to look at its state, which is of no use any more.

        Returns where it lies now, None where there was none.
        """
        var_file = self._variables_file(workspace)
        with self._alone(workspace, LOCK_TIMEOUT_S):
            source, aside = self.state_file(workspace).parent, None
            if source.is_dir():
                aside = self.home / "broken" / f"{workspace}.{int(source.stat().st_mtime)}"
                aside.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(aside, ignore_errors=True)
                source.rename(aside)
            var_file.unlink(missing_ok=True)
        return aside

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
        held = self.lock(workspace)
        return is_held(self._turns, workspace) or (held is not None and held.is_held)

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
        path = self.state_file(workspace)
        try:
            text = path.read_bytes()
            return not text or isinstance(json.loads(text), dict)
        except FileNotFoundError:
            return True
        except (OSError, ValueError):
            return False

    def workspaces(self) -> list[str]:
        """Names of the workspaces that have a state."""
        return sorted(entry.name for entry in self.states.iterdir()) if self.states.is_dir() else []

    def names(self) -> list[str]:
        """The workspaces, and what has left no more than its variables' file here."""
        return sorted({*self.workspaces(), *(path.name.partition(".")[0] for path in self.variable_files.glob("*.tfvars.json"))})

    def state(self, workspace: str) -> dict[str, Any]:
        """The workspace's state as terraform wrote it; empty where there is none."""
        try:
            found = json.loads(self.state_file(workspace).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def outputs(self, workspace: str) -> dict[str, Any]:
        """The outputs in the workspace's state; empty where there is none."""
        return {name: output["value"] for name, output in self.state(workspace).get("outputs", {}).items()}

    def variables(self, workspace: str) -> dict[str, Any]:
        """The variables that the workspace was last applied with; empty where it never was, or they cannot be read."""
        try:
            found = json.loads(self._variables_file(workspace).read_text())
        except (OSError, ValueError):
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
        return self.home / "data"

    def state_file(self, workspace: str) -> Path:
        """Where Terraform keeps the workspace's state. Raises TerraformError where that cannot be a workspace's name."""
        return self.states / workspace / "terraform.tfstate"

    @property
    def states(self) -> Path:
        """The workspaces' states, a folder for each."""
        return self._state_folder / "workspaces"

    @property
    def variable_files(self) -> Path:
        """The values that each workspace was last applied with, a file for each."""
        return self.home / "vars"

    @property
    def _state_folder(self) -> Path:
        return self.home / "state"

    @property
    def _turns(self) -> Path:
        return self.home / "workspaces.lock"

    def _alone(self, workspace: str, limit_s: float) -> AbstractContextManager[None]:
        """No second terraform of this installation, of whichever process, is at the workspace meanwhile."""
        return exclusive(self._turns, workspace, limit_s)

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
            raise TerraformError(f"terraform {what}: {first_error(err or out)}", out + err)

    def _variables_file(self, workspace: str) -> Path:
        if not WORKSPACE.fullmatch(workspace):
            raise TerraformError(f"{workspace!r} cannot be a workspace's name")
        return self.variable_files / f"{workspace}.tfvars.json"

    def _write_variables(self, workspace: str, variables: Mapping[str, object]) -> Path:
        path = self._variables_file(workspace)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(variables, indent=1) + "\n")
        beside.rename(path)
        return path

    def _init(self) -> None:
        """Initialise once per module and version of its text; other processes on this home wait for the first."""
        fingerprint = self._fingerprint()
        marker = self.home / "initialised"
        if marker.is_file() and marker.read_text() == fingerprint:
            return
        with self._exclusive():
            if marker.is_file() and marker.read_text() == fingerprint:
                return
            self._state_folder.mkdir(parents=True, exist_ok=True)
            backend = {"path": self._state_folder / "terraform.tfstate", "workspace_dir": self.states}
            options: dict[str, object] = {"var": None, "backend_config": backend, "reconfigure": IsFlagged}
            if self.path == self._source:
                options["lockfile"] = "readonly"
            else:
                self._copy()
            self._check("init", self._command("default", INIT_TIMEOUT_S, own_providers=True).init(**options))
            marker.write_text(fingerprint)

    def _copy(self) -> None:
        """The module's present text, beside the lock file of an earlier one."""
        self.path.mkdir(parents=True, exist_ok=True)
        for path in self.path.glob("*.tf"):
            path.unlink()
        for path in self._source.glob("*.tf"):
            shutil.copyfile(path, self.path / path.name)

    def _fingerprint(self) -> str:
        # The home is in it: terraform notes where its states lie, and a copied or moved home would go on in the former one.
        digest = hashlib.sha256(f"{INIT_FORMAT} {self._binary} {self.home}".encode())
        for path in sorted((*self._source.glob("*.tf"), *self._source.glob(LOCK_FILE))):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "init.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _wants_provider(path: Path) -> bool:
    """Whether the module needs one that is not built into terraform."""
    return any("required_providers" in file.read_text() for file in path.glob("*.tf"))
