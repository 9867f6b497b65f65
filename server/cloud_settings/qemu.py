"""The settings of qemu's machines on this computer, and of the templates that Cumulus builds for them."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings

ROLES_VARIABLE = re.compile(r"(worker_base|converters|apps)_[a-z_]{1,60}")


class Accelerator(StrEnum):
    """What runs the instructions of machines on this computer."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class Converter(BaseModel):
    """A converter that Debian does not have: an archive, here or on a server, and the program in it that becomes ``command``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Folder below /opt on the machines")
    path: Path | None = Field(None, description="The archive (tar, zip) on this computer, absolute")
    url: str | None = Field(None, pattern=r"^https?://[^\s]+$", description="Or where the template downloads it from")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Its checksum")
    program: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$", description="The program's path in the archive")
    command: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Its name on the PATH")

    @model_validator(mode="after")
    def _require_one_place(self) -> "Converter":
        if (self.path is None) == (self.url is None) or (self.path and not self.path.is_absolute()):
            raise ValueError("a converter needs an absolute path, or a url, and not both")
        return self


class QemuSettings(BaseSettings):
    """Machines on this computer, their memory images and their storage; what templates are made of."""

    warm_images: bool = Field(
        True, description="Make a memory image beside the jobs for each flavor whose machines had to boot (qemu)"
    )
    warm_images_max_age_days: PositiveInt = Field(30, description="Days that a memory image made so is kept without being used")
    accelerator: Accelerator = Field(
        Accelerator.AUTO,
        description="What runs qemu's machines: `kvm`, `tcg` (emulation), or `auto`: KVM where a machine comes up with it",
    )
    nfs_user: int = Field(
        69321,
        ge=1,
        le=2**31,
        description="Number of the user, and group, that workers write to the storage as; nobody else has it",
    )
    nfs_port: int = Field(
        0, ge=0, le=65535, description="Port of the embedded NFS server in the machines' private network; 0: any free one"
    )
    debian_mirror: str = Field("", description="Where the qemu template's packages come from; default: Debian's own")
    converters: tuple[Converter, ...] = Field((), description="Converters for the template that Debian does not have")
    template_variables: dict[str, Any] = Field(
        {}, description='Variables for the roles of the template, such as {"apps_packages": ["comet-ms"]}'
    )
    debian_suite: str = Field("bookworm", description="Debian release of the qemu template")

    @field_validator("template_variables")
    @classmethod
    def _require_roles_variables(cls, given: dict[str, Any]) -> dict[str, Any]:
        if strange := [name for name in given if not ROLES_VARIABLE.fullmatch(name)]:
            raise ValueError(f"no role of the template has a variable {strange[0]}")
        return given
