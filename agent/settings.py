"""Every setting of the agent, with unit and default: from ``CUMULUS_AGENT_*`` variables, then ``cumulus-agent.toml``.

Owns names, units and defaults; reads no other file and creates nothing.
"""

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from agent.errors import InvalidInput
from agent.sources.paths import Root, parse
from programs.http.door_settings import DoorSettings
from programs.wrong_settings import HOST, Sources, WrongSettings, absolute, read_settings_file

CONFIG = "CUMULUS_AGENT_CONFIG"
DEFAULT_FILE = "cumulus-agent.toml"
_TOKEN = re.compile(r"[!-~]{1,500}")


class Verify(StrEnum):
    """What is compared once more after a transfer, by checksums of both sides."""

    NEEDED = "needed"  # what was there already; of what was sent, rsync itself has compared the checksum
    ALWAYS = "always"


class RootSetting(BaseModel):
    """A folder that may be read below. ``seen_as``: its names for clients (``Z:/``, ``//nas/data``); default: its path."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    seen_as: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _require_absolute(self) -> "RootSetting":
        try:
            self.root()
        except InvalidInput as error:
            raise ValueError(error.message) from None
        return self

    def root(self) -> Root:
        """The root for :func:`agent.sources.paths.locate`. Raises InvalidInput."""
        parse(self.path, field="path")
        return Root(self.path, tuple(parse(name, field="seen_as") for name in self.seen_as or (self.path,)))


class Settings(DoorSettings):
    """One agent's settings. Paths are absolute once validated; relative ones count from the working directory."""

    model_config = SettingsConfigDict(env_prefix="CUMULUS_AGENT_", extra="forbid", validate_default=True)

    home: Path = Field(Path("var/agent"), description="The queue, the ssh key and host key, logs")
    host: str = Field("127.0.0.1", pattern=HOST, description="Address that clients reach the agent at")
    port: int = Field(80, ge=0, le=65535, description="Its port, where the desktop client expects it; 0: any free one")
    target: str = Field(
        "", description="The controller's storage: a folder here, `user@host:path` by ssh, or `rsync://host/module` of a daemon"
    )
    controller: str = Field(
        "", pattern=r"^(https?://[^\s]+)?$", description="URL of the controller, which the agent notifies of jobs that must fail"
    )
    controller_token: SecretStr = Field(
        SecretStr(""),
        description="An agent's token, which the controller's administrator has made; without one the controller must trust this "
        "computer's network",
    )
    roots: tuple[RootSetting, ...] = Field((), description="Folders that may be read below, see below")

    ssh_key: Path = Field(Path(), description="Private key without a passphrase; default: `id_ed25519` in `home`")
    known_hosts: Path = Field(Path(), description="The target's host key and no other; default: `known_hosts` in `home`")
    ssh_port: int = Field(22, ge=1, le=65535, description="Port of the target's ssh server")
    ssh: str = Field("ssh", description="The ssh program; on Windows the one that came with rsync")
    rsync: str = Field("rsync", description="The rsync program")
    password_file: Path | None = Field(None, description="Password for a daemon's module, in a file of this user alone")

    parallel: int = Field(1, ge=1, le=16, description="Transfers at once")
    bwlimit_kib: int = Field(0, ge=0, description="KiB a second for each transfer; 0: no limit")
    timeout_s: PositiveInt = Field(60, description="Seconds without a byte after which a transfer is broken off and tried again")
    retry_delay_s: PositiveFloat = Field(
        5, description="Seconds before another try after a network error; doubled with each, 5 minutes at most"
    )
    give_up_s: PositiveFloat = Field(
        24 * 3600, description="Seconds of errors of the network, or of a full storage, in a row after which a job fails"
    )
    stable_s: float = Field(10, ge=0, description="Seconds that a source must not have changed before it is sent")
    survey_interval_s: PositiveFloat = Field(2, description="Seconds between two looks at a source that is still written")
    survey_limit_s: PositiveFloat = Field(
        6 * 3600, description="Seconds after which a source that is still written fails its job"
    )
    watch_interval_s: PositiveFloat = Field(
        10,
        description="Seconds between two questions to the controller whether the jobs that files are sent for are still wanted",
    )
    verify: Verify = Field(
        Verify.NEEDED, description="`needed`: compare checksums of what rsync did not send itself; `always`: of everything"
    )
    fsync: bool = Field(True, description="Files are on the storage's disk before they count; needs rsync 3.2.4 on both sides")
    keep_days: PositiveFloat = Field(30, description="Days that finished jobs stay in the queue's records")
    threads: PositiveInt = Field(4, description="Threads that answer requests")
    log_mb: PositiveFloat = Field(5, description="Size at which the log in `home` is put aside, MB; five old ones are kept")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic passes it by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, read_settings_file(_file()))

    @field_validator("controller_token", mode="before")
    @classmethod
    def _hide_token(cls, given: Any) -> Any:
        """From here on no message shows it."""
        return given if isinstance(given, SecretStr) else SecretStr(str(given).strip())

    @field_validator("controller_token")
    @classmethod
    def _require_token(cls, given: SecretStr, info: ValidationInfo) -> SecretStr:
        text = given.get_secret_value()
        if text and not _TOKEN.fullmatch(text):
            raise ValueError("must be a token in one line, as the controller's administrator got it")
        if text and "@" in urlsplit(str(info.data.get("controller", ""))).netloc:
            raise ValueError("and a name and password in the URL of `controller` cannot both be sent: leave one of them out")
        return given

    @model_validator(mode="after")
    def _resolve_paths(self) -> "Settings":
        self.home = absolute(self.home)
        self.ssh_key = absolute(self.ssh_key) if self.ssh_key != Path() else self.home / "id_ed25519"
        self.known_hosts = absolute(self.known_hosts) if self.known_hosts != Path() else self.home / "known_hosts"
        return self

    @property
    def token(self) -> str:
        """The token for the controller; "" without one."""
        return self.controller_token.get_secret_value()

    @property
    def database(self) -> Path:
        """The queue's file."""
        return self.home / "queue.sqlite"

    def places(self) -> tuple[Root, ...]:
        """The roots, read."""
        return tuple(root.root() for root in self.roots)


def where_given(name: str) -> str:
    """Where a setting is given: its variable, the file with the line, or that it is the default."""
    return Sources("CUMULUS_AGENT_", _file(), {}, Settings.model_fields).place(name)


def load_settings(**given: Any) -> Settings:
    """The settings, or one clear line about the first that is wrong and where it was given. Raises InvalidInput."""
    file = os.environ.get(CONFIG)
    if file and not os.path.lexists(file):
        raise InvalidInput(f"there is no file {file}", field=CONFIG)
    try:
        return Sources("CUMULUS_AGENT_", _file(), given, Settings.model_fields).load(Settings)
    except WrongSettings as error:
        raise InvalidInput(error.message, field=error.field) from None


def _file() -> Path:
    return Path(os.environ.get(CONFIG) or DEFAULT_FILE)
