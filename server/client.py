"""A client of the controller's REST, speaking as the desktop client does. For the command line, the demo and the benchmark."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from server.errors import CumulusError

TIMEOUT_S = 30.0


class Refused(CumulusError):
    """The controller said no, in its own words."""

    code = "refused"


class Unreachable(CumulusError):
    """No controller answers."""

    code = "unreachable"


@dataclass(frozen=True)
class Submitted:
    """A job that the controller has taken."""

    job_id: int
    folder: str


class Client:
    """One controller, at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)

    def start(
        self,
        owner: str,
        app: str,
        flavor: str,
        settings: Mapping[str, Any],
        description: str = "",
        after: int | None = None,
        workflow: str = "",
    ) -> Submitted:
        """Submit a job. Raises Refused, Unreachable."""
        form = {
            "username": owner,
            "app_name": app,
            "strategy": flavor,
            "settings": json.dumps(settings),
            "description": description,
            "workflow_name": workflow,
            "start_after_id": "" if after is None else str(after),
        }
        multipart = {name: (None, text) for name, text in form.items()}
        answer = self._json("POST", "/start", files=multipart)
        if not answer[1]:
            raise Refused(str(answer[0]))
        return Submitted(int(answer[0]), str(answer[1]))

    def job(self, job_id: int) -> dict[str, Any]:
        """A job's row with its details. Raises Refused where there is none, Unreachable."""
        rows = self._json("GET", f"/joblist/{job_id}/1")
        for row in rows:
            if row["id"] == job_id and "log" in row:
                return dict(row)
        raise Refused(f"there is no job {job_id}")

    def jobs(self, number: int = 100) -> list[dict[str, Any]]:
        """The newest jobs' short rows."""
        return list(self._json("GET", f"/joblist/0/{number}"))

    def cancel(self, owner: str, job_id: int) -> str:
        """End a job; the controller's sentence."""
        return str(self._json("GET", f"/cancel/{quote(owner, safe='')}/{job_id}"))

    def download(self, owner: str, job_id: int, path: str, target: Path) -> None:
        """Fetch one result file into ``target``. Raises Refused, Unreachable."""
        url = f"/getresults/{quote(owner, safe='')}/{job_id}/{quote(path, safe='')}"
        try:
            with self._http.stream("GET", url) as response, target.open("wb") as file:
                if response.status_code != httpx.codes.OK:
                    raise Refused(f"job {job_id} has no result {path}")
                for part in response.iter_bytes():
                    file.write(part)
        except httpx.TransportError as error:
            raise Unreachable(f"no controller answers: {error}") from None

    def healthy(self) -> bool:
        """Whether a controller answers."""
        try:
            return self._http.get("/healthz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def health(self) -> dict[str, Any]:
        """What the controller says of itself: its version, its cloud. Raises Refused, Unreachable."""
        return dict(self._json("GET", "/healthz"))

    def _json(self, method: str, url: str, **options: Any) -> Any:
        try:
            response = self._http.request(method, url, **options)
        except httpx.TransportError as error:
            raise Unreachable(f"no controller answers at {self._http.base_url}: {error}") from None
        if response.status_code != httpx.codes.OK:
            raise Refused(f"{method} {url}: {response.status_code} {response.text[:200]}")
        return response.json()
