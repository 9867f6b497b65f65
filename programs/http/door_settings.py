"""The settings of a server's door, which both programs have."""

import json
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, field_validator
from pydantic_settings import BaseSettings, NoDecode

from programs.http.visitors import is_host


class DoorSettings(BaseSettings):
    """Who is let in, how many at a time, with how much, and for how long."""

    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Names that clients know this server by, beside its own and its addresses, such as `cumulus.lab` or `*.lab`; "
        "a request for any other is refused, since a web page may have caused it; `*`: none is refused",
    )
    max_connections: int = Field(1000, ge=16, le=100_000, description="Connections at a time; the idlest make room for others")
    max_header_kib: int = Field(32, ge=4, le=1024, description="KiB that a request may have before its body")
    max_body_mib: int = Field(20, ge=1, le=1024, description="MiB of a form; the desktop client sends 20 at most")
    header_timeout_s: PositiveFloat = Field(20, description="Seconds in which a request must arrive as far as its body")
    body_timeout_s: PositiveFloat = Field(300, description="Seconds in which its body must arrive")
    idle_timeout_s: PositiveFloat = Field(
        75, description="Seconds that a connection stays open without a request, or without taking more of its answer"
    )

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _read_hosts(cls, given: Any) -> Any:
        return listed(given, "names")

    @field_validator("allowed_hosts")
    @classmethod
    def _require_hosts(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            if not is_host(one):
                raise ValueError(f"{one[:100]!r} is no host: give names or addresses without a port, *.domain, or *")
        return given

    @property
    def max_post_bytes(self) -> int:
        """Bytes of a form and of what separates its fields."""
        return self.max_body_mib * 1_050_000


def listed(given: Any, what: str) -> Any:
    """A list as it is, and one that is given as text: JSON, or ``what`` it lists between commas. Raises ValueError."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            raise ValueError(f"must be {what} between commas, or a list of them as JSON") from None
    return [one.strip() for one in given.split(",") if one.strip()]
