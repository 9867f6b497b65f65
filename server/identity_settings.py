"""The settings of who is believed: networks, proxies, a directory of users, and how often somebody may try.

Owns those names, units and defaults.
"""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeInt, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from programs.http.addresses import Networks, address_in, network
from programs.http.door_settings import DoorSettings, listed
from programs.wrong_settings import absolute

LOOPBACK = ("127.0.0.0/8", "::1/128")
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class IdentitySettings(DoorSettings):
    """Who is believed, and by whose word."""

    public_url: str = Field(
        "",
        pattern=r"^(https?://[^\s?#]+)?$",
        description="URL by which people reach the controller, for links; default: where it listens",
    )
    trusted_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        LOOPBACK,
        description="Networks whose desktop clients are believed who their user is, and whose agents need no token, such as "
        "`192.0.2.0/24`; from all others the controller takes tokens and log-ins only",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses or networks of the proxies in front of the controller that say rightly for whom they ask"
    )
    login_attempts_per_minute: NonNegativeInt = Field(20, description="Log-ins that one address may try in a minute; 0: any")
    login_failures_per_minute: NonNegativeInt = Field(
        10,
        description="Failed log-ins by one name in a minute, after which each address may try that name once a minute; 0: any",
    )
    bad_tokens_per_minute: NonNegativeInt = Field(
        60, description="Requests with a wrong token from one address in a minute, after which they get 429; 0: any"
    )
    submissions_per_minute: NonNegativeInt = Field(1000, description="Jobs that one user may submit in a minute; 0: any")
    oidc_issuer: str = Field(
        "", description="URL of the OpenID Connect provider whose users may log in, as it calls itself; default: none"
    )
    oidc_client_id: str = Field("", description="What the provider calls this controller")
    oidc_client_secret: SecretStr = Field(
        SecretStr(""), description="The controller's password at the provider; better in a file, or in the variable"
    )
    oidc_client_secret_file: Path | None = Field(None, description="A file with that password, for the controller's user alone")
    oidc_create_users: bool = Field(
        False,
        description="Whether who logs in by the provider for the first time becomes a user; else administrators add users",
    )
    oidc_name_claim: str = Field("preferred_username", min_length=1, description="What the provider calls a user's name")

    @field_validator("trusted_networks", "trusted_proxies", mode="before")
    @classmethod
    def _read_networks(cls, given: Any) -> Any:
        return listed(given, "networks")

    @field_validator("trusted_networks", "trusted_proxies")
    @classmethod
    def _require_networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(network(one)) for one in given)

    @field_validator("oidc_client_secret", mode="before")
    @classmethod
    def _hide_secret(cls, given: Any) -> Any:
        """From here on no message shows it."""
        return given if isinstance(given, SecretStr) else SecretStr(str(given))

    @field_validator("oidc_client_secret_file", mode="after")
    @classmethod
    def _resolve_file(cls, given: Path | None) -> Path | None:
        return None if given is None or given == Path() else absolute(given)

    @field_validator("oidc_issuer")
    @classmethod
    def _require_issuer(cls, given: str) -> str:
        """Its answers decide who somebody is, so they come by TLS, or from this computer."""
        parts = urlsplit(given)
        if given and (
            not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL_NAMES))
        ):
            raise ValueError("must be the provider's URL, beginning with https://")
        return given

    @field_validator("oidc_client_id")
    @classmethod
    def _require_client_id(cls, given: str, info: ValidationInfo) -> str:
        if info.data.get("oidc_issuer") and not given:
            raise ValueError("is missing: with oidc_issuer, give what the provider calls this controller")
        return given

    def what_keeps_clients_out(self, host: str) -> str:
        """Why no desktop client of another computer can be believed though the server listens for them; "" where one can."""
        address = address_in(host)
        is_local = host.lower() in LOCAL_NAMES or (address is not None and address.is_loopback)
        if is_local or self.networks.include_other_computers():
            return ""
        return (
            f"the server listens at {host} for other computers, and trusted_networks has none of theirs: their desktop clients "
            "and their agents without a token are refused. Add the laboratory's network, such as 192.0.2.0/24"
        )

    @property
    def networks(self) -> Networks:
        """The trusted networks."""
        return Networks(self.trusted_networks)

    @property
    def proxies(self) -> Networks:
        """The trusted proxies."""
        return Networks(self.trusted_proxies)
