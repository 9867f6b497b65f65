"""Every setting of the controller, with unit and default: from ``CUMULUS_*`` variables, then ``cumulus.toml``.

Owns names, units and defaults, those of the clouds in :mod:`server.cloud_settings`; reads no other file and creates nothing.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from programs.wrong_settings import HOST, Sources, WrongSettings, absolute, named, read_settings_file
from server.cloud_settings.openstack import OpenstackSettings
from server.cloud_settings.qemu import QemuSettings
from server.errors import InvalidInput
from server.identity_settings import IdentitySettings

FILE = Path("cumulus.toml")
CHECKOUT = Path(__file__).resolve().parent.parent


class CloudName(StrEnum):
    """The clouds that can make machines."""

    QEMU = "qemu"
    OPENSTACK = "openstack"
    LOCAL = "local"


class Settings(QemuSettings, OpenstackSettings, IdentitySettings):
    """One controller's settings. Paths are absolute once validated; relative ones count from the working directory."""

    model_config = SettingsConfigDict(env_prefix="CUMULUS_", extra="forbid", validate_default=True)

    home: Path = Field(CHECKOUT / "var", description="All state: database, workspaces, caches, logs")
    storage: Path = Field(Path(), description="The shared directory; default: `storage` in `home`")
    database: Path = Field(Path(), description="The SQLite file; default: `cumulus.sqlite` in `home`")
    cloud: CloudName = Field(CloudName.QEMU, description="Where machines are made")
    apps: Path = Field(CHECKOUT / "apps", description="Folder of the app and workflow XML")
    flavors: Path = Field(CHECKOUT / "flavors.tsv", description="Machine sizes and the maximal weight")
    host: str = Field("127.0.0.1", pattern=HOST, description="Address that the API listens on")
    port: int = Field(5000, ge=0, le=65535, description="Port of the API; 0: any free one")

    default_flavor: str = Field(
        "m1.4xlarge", description="Flavor of the canary and of the first memory image; the desktop client waits for it"
    )
    max_attempts: PositiveInt = Field(3, description="Machines tried for one job before an infrastructure failure is final")
    retry_delay_s: float = Field(10, ge=0, description="Seconds before a job's second attempt; doubled for each further one")
    upload_timeout_s: PositiveFloat = Field(24 * 3600, description="Seconds that a job waits for its files")
    upload_keep_s: PositiveFloat = Field(
        3 * 24 * 3600, description="Seconds that an upload by HTTP which broke off can be continued; then it is removed"
    )
    default_user_quota_gb: float = Field(
        0, ge=0, description="GB that the jobs and uploads of a user may take who has no limit of the own; 0: no limit"
    )
    play_timeout_s: PositiveFloat = Field(180, description="Seconds that one Ansible play may take")
    conversion_wait_s: float = Field(
        3600, ge=0, description="Seconds that a job waits while another one converts the same input file; 0: it never waits"
    )
    heartbeat_late_s: PositiveFloat = Field(
        20, description="Seconds without a heartbeat (one comes every 15) before a job is lost and its machine is inspected"
    )
    heartbeat_timeout_s: PositiveFloat = Field(
        120, description="Seconds without a heartbeat after which a machine that does not answer by ssh is given up"
    )
    starting_timeout_s: float = Field(600, ge=0, description="Seconds from the machine to the app's start; 0: no limit")
    results_wait_s: float = Field(
        24 * 3600,
        ge=0,
        description="Seconds that the results of a run wait on its machine for room in a full storage",
    )
    log_limit_mb: PositiveFloat = Field(512, description="MB of an app's lines that a job's log takes; its last ones are added")
    run_timeout_s: float = Field(14 * 24 * 3600, ge=0, description="Seconds that an app may run; 0: no limit")
    stall_timeout_s: float = Field(
        600,
        ge=0,
        description="Seconds without CPU time, output or a log line after which a converter or an app is ended; 0: never",
    )
    max_tasks: int = Field(4096, ge=0, description="Processes and threads that an app may have at once; 0: no limit")
    lost_timeout_s: float = Field(
        3600,
        ge=0,
        description="Seconds without a heartbeat after which a job is given up though its machine answers; 0: no limit",
    )
    finishing_timeout_s: float = Field(600, ge=0, description="Seconds that judging a result may take; 0: no limit")
    hold_failed_s: float = Field(
        0, ge=0, description="Seconds that the machine of a failed attempt is held for inspection; 0: none"
    )
    priority_ageing_s: PositiveFloat = Field(3600, description="Seconds of waiting that are worth one step of a job's priority")
    backfill_limit_s: float = Field(
        600, ge=0, description="Seconds for which lighter jobs may overtake one that does not fit; then room is kept for it"
    )
    breaker_failures: PositiveInt = Field(5, description="Machines in a row that could not be made before no more are tried")
    breaker_pause_s: PositiveFloat = Field(
        120, description="Seconds before one is tried again then; doubled with each failure, an hour at most"
    )
    lease_s: PositiveFloat = Field(
        48 * 3600, description="Seconds that a machine continues without a word from the controller before it switches itself off"
    )
    sweep_interval_s: PositiveFloat = Field(
        60, description="Seconds between two inspections of all that the cloud has; an orphan is removed when it was seen twice"
    )
    poll_interval_s: PositiveFloat = Field(
        0.5,
        description="Seconds between two inspections of running jobs' folders, where the storage is not this computer's own",
    )
    play_retention_s: PositiveFloat = Field(7 * 24 * 3600, description="Seconds that the record of a play is kept")
    min_ready: dict[str, NonNegativeInt] = Field(
        {}, description='Machines of each flavor that are kept ready for a job, such as {"m1.4xlarge": 1}; default: none'
    )
    ready_max_age_s: PositiveFloat = Field(
        6 * 3600, description="Seconds after which a machine that waits for a job is replaced; at most half of `lease_s`"
    )
    parallel_steps: PositiveInt = Field(8, description="Terraform and Ansible children at once")
    threads: PositiveInt = Field(16, description="Threads that answer requests")
    min_free_gb: float = Field(
        1,
        ge=0,
        description="Free GB on the storage under which new jobs are refused, and logs do not grow (or 1 % if that is less)",
    )
    data_max_age_days: PositiveInt = Field(90, description="Days that unused data is kept; the client shows it")
    trash_days: int = Field(
        7,
        ge=0,
        description="Days that removed jobs and data can be had back (counted while a controller runs; fewer if room is short)",
    )
    client_min_version: str = Field("2.2.0", description="Oldest desktop client that is served; full semver")

    token_max_days: PositiveInt = Field(365, description="Days after which an API token expires at the latest")
    session_idle_s: PositiveFloat = Field(12 * 3600, description="Seconds after which a log-in ends that is not used")
    session_max_s: PositiveFloat = Field(14 * 24 * 3600, description="Seconds after which a log-in ends in any case")
    audit_days: PositiveInt = Field(400, description="Days that lines of the audit are kept")
    audit_entries: PositiveInt = Field(
        100_000, description="Lines of the audit that are kept of changes, and as many of refusals"
    )

    worker_disk_gb: PositiveInt = Field(20, description="Disk of a worker whose flavor names none, GB")

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
        return init_settings, env_settings, InitSettingsSource(settings_cls, read_settings_file(FILE))

    @field_validator("home", "apps", "flavors", mode="before")
    @classmethod
    def _require_a_path(cls, given: object) -> object:
        """An empty one would be the working directory."""
        if given == "":
            raise ValueError("a path must not be empty")
        return given

    @model_validator(mode="after")
    def _replace_before_the_lease_ends(self) -> "Settings":
        self.ready_max_age_s = min(self.ready_max_age_s, self.lease_s / 2)
        return self

    @model_validator(mode="after")
    def _require_fitting_limits(self) -> "Settings":
        self.require_fitting_limits()
        return self

    @model_validator(mode="after")
    def _resolve_paths(self) -> "Settings":
        self.home = absolute(self.home)
        self.storage = absolute(self.storage) if self.storage != Path() else self.home / "storage"
        self.database = absolute(self.database) if self.database != Path() else self.home / "cumulus.sqlite"
        self.apps = absolute(self.apps)
        self.flavors = named(self.flavors)
        return self


def where_given(name: str) -> str:
    """Where a setting is given: its variable, the file with the line, or that it is the default."""
    return Sources("CUMULUS_", FILE, {}, Settings.model_fields).place(name)


def load_settings(**given: Any) -> Settings:
    """The settings, or one clear line about the first that is wrong and where it was given. Raises InvalidInput."""
    try:
        return Sources("CUMULUS_", FILE, given, Settings.model_fields).load(Settings)
    except WrongSettings as error:
        raise InvalidInput(error.message, field=error.field) from None
