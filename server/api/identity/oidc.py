"""The laboratory's directory of users, by OpenID Connect: where people are sent to log in, and who has come back.

The flow is the one with a code, PKCE, a state and a nonce. What the provider says is believed where its signature, issuer,
audience, times and nonce are right. Knows nothing of Flask.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from programs.errors import explained
from programs.regular import read_regular
from server.api.identity.oidc_flow import Flow, ProviderAway, ProviderRefuses
from server.errors import SetupMissing
from server.identity_settings import IdentitySettings

DISCOVERY = "/.well-known/openid-configuration"
SCOPE = "openid profile email"
SIGNATURES = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
TIMEOUT_S = 10.0
LEEWAY_S = 60  # by which the clocks of provider and controller may differ
KNOWN_S = 3600.0  # for which the provider's addresses and keys are kept
MAX_SECRET = 4096
NAME_CLAIM = "preferred_username"


@dataclass(frozen=True)
class Identity:
    """Whom the provider vouches for."""

    issuer: str
    subject: str
    claims: Mapping[str, Any]


class Provider:
    """The provider that the settings name. ``clock``: Unix seconds."""

    def __init__(self, settings: IdentitySettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[dict[str, Any], KeySet, float] | None = None

    def login_url(self, flow: Flow) -> str:
        """Where to send somebody who wants to log in. Raises ProviderAway, SetupMissing."""
        metadata, _ = self._provider()
        with self._client(flow, None) as client:
            url, _ = client.create_authorization_url(
                str(metadata["authorization_endpoint"]), state=flow.state, nonce=flow.nonce, code_verifier=flow.verifier
            )
        return str(url)

    def identity(self, flow: Flow, code: str) -> Identity:
        """Whom the provider has let in. Raises as :meth:`login_url`, and ProviderRefuses."""
        metadata, _ = self._provider()
        try:
            with self._client(flow, self._secret() or None) as client:
                token = client.fetch_token(
                    str(metadata["token_endpoint"]),
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=flow.verifier,
                    timeout=TIMEOUT_S,
                )
                claims = self._verified(str(token.get("id_token", "")), str(token.get("access_token", "")), flow.nonce)
                if self._settings.oidc_name_claim not in claims and "userinfo_endpoint" in metadata:
                    claims = _joined(claims, _json(client.get(str(metadata["userinfo_endpoint"]), timeout=TIMEOUT_S)))
        except requests.RequestException as problem:
            raise ProviderAway(f"{self._settings.oidc_issuer} has not answered: {problem}") from None
        except (AuthlibBaseError, JoseError) as problem:
            raise ProviderRefuses(f"the log-in at {self._settings.oidc_issuer} has failed: {problem}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            raise ProviderRefuses(f"{self._settings.oidc_issuer} has answered what is no log-in: {problem!r}") from None
        return Identity(self._settings.oidc_issuer, str(claims["sub"]), self._named(claims))

    def _named(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """The claims, with the user's name where the accounts look for it, and nowhere else."""
        name = claims.get(self._settings.oidc_name_claim)
        if not isinstance(name, str) or not name:
            raise ProviderRefuses(
                f"{self._settings.oidc_issuer} gives no claim {self._settings.oidc_name_claim}: see oidc_name_claim"
            )
        return {**claims, NAME_CLAIM: name}

    def _verified(self, id_token: str, access_token: str, nonce: str) -> dict[str, Any]:
        settings = self._settings
        token = self._decoded(id_token)
        options = {
            "iss": {"essential": True, "value": settings.oidc_issuer},
            "aud": {"essential": True, "value": settings.oidc_client_id},
        }
        params = {"nonce": nonce, "client_id": settings.oidc_client_id, "access_token": access_token}
        CodeIDToken(token.claims, token.header, options, params).validate(now=int(self._clock()), leeway=LEEWAY_S)
        return dict(token.claims)

    def _decoded(self, id_token: str) -> jwt.Token:
        """The token, with a right signature; keys that the provider has changed are asked for again."""
        _, keys = self._provider()
        try:
            return jwt.decode(id_token, keys, algorithms=SIGNATURES)
        except (JoseError, ValueError):
            _, keys = self._provider(asks=True)
            return jwt.decode(id_token, keys, algorithms=SIGNATURES)

    def _provider(self, *, asks: bool = False) -> tuple[dict[str, Any], KeySet]:
        """Its addresses and keys."""
        with self._lock:
            now = self._clock()
            if self._known is None or asks or not 0 <= now - self._known[2] < KNOWN_S:
                metadata = self._asked(self._settings.oidc_issuer.rstrip("/") + DISCOVERY)
                if metadata.get("issuer") != self._settings.oidc_issuer:
                    said = str(metadata.get("issuer"))[:200]
                    raise ProviderAway(f"oidc_issuer is {self._settings.oidc_issuer}, and what answers there calls itself {said}")
                self._known = metadata, KeySet.import_key_set(self._asked(str(metadata.get("jwks_uri", "")))), now  # type: ignore[arg-type]
            return self._known[0], self._known[1]

    def _asked(self, url: str) -> dict[str, Any]:
        try:
            return _json(requests.get(url, timeout=TIMEOUT_S))
        except (requests.RequestException, ValueError, TypeError) as problem:
            raise ProviderAway(f"{url} does not answer as an OpenID Connect provider does: {problem}") from None

    def _client(self, flow: Flow, secret: str | None) -> OAuth2Session:
        return OAuth2Session(
            self._settings.oidc_client_id,
            secret,
            scope=SCOPE,
            redirect_uri=flow.redirect_uri,
            code_challenge_method="S256",
        )

    def _secret(self) -> str:
        """The controller's password there. Raises SetupMissing where its file cannot be read; never shows it."""
        file = self._settings.oidc_client_secret_file
        if file is None:
            return self._settings.oidc_client_secret.get_secret_value()
        try:
            return read_regular(file, MAX_SECRET, follow=True).decode().strip()
        except OSError as problem:
            raise SetupMissing(f"oidc_client_secret_file cannot be read: {explained(problem)}") from None
        except UnicodeDecodeError:
            raise SetupMissing(f"oidc_client_secret_file {file} is no text") from None


def _json(answer: requests.Response) -> dict[str, Any]:
    answer.raise_for_status()
    return dict(answer.json())


def _joined(claims: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """The claims with what the provider tells of the same user elsewhere. Raises ValueError where that is another one."""
    if more.get("sub") != claims["sub"]:
        raise ValueError("it tells of another user")
    return {**more, **claims}
