"""A client of the controller's REST, speaking as the desktop client does. For the command line, the demo and the benchmark."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from server.errors import CumulusError, no_job

TIMEOUT_S = 30.0
UNTRUSTED = "untrusted_network"
REFUSED = "Cumulus-Refused"  # a header with the error's code and field: in the contract, a refusal looks as a success does


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
    """One controller, at ``url``. Raises Unreachable for what is no URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            # Reading certificates takes 14 ms or more, and who waits for a controller makes a client every 50.
            tls = url.startswith("https:")
            self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False, verify=tls)
        except httpx.InvalidURL as error:
            raise Unreachable(f"no controller can be at {url}: {error}") from None

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
        try:
            number, folder = answer
            if not folder:
                raise Refused(str(number))
            return Submitted(int(number), str(folder))
        except (TypeError, ValueError):
            raise Unreachable(f"what answers at {self.url} is no controller of Cumulus") from None

    def job(self, job_id: int) -> dict[str, Any]:
        """A job's row with its details. Raises Refused where there is none, Unreachable."""
        rows = self._json("GET", f"/joblist/{job_id}/1")
        for row in rows:
            if row["id"] == job_id and "log" in row:
                return dict(row)
        raise Refused(no_job(job_id))

    def jobs(self, number: int = 100) -> list[dict[str, Any]]:
        """The newest jobs' short rows."""
        return list(self._json("GET", f"/joblist/0/{number}"))

    def cancel(self, owner: str, job_id: int) -> str:
        """End a job; the controller's sentence. Raises Refused where there is nothing to end, Unreachable."""
        response = self._answer("GET", f"/cancel/{quote(owner, safe='')}/{job_id}")
        sentence = _parsed(response)
        if not isinstance(sentence, str):
            raise Unreachable(f"what answers at {self.url} is no controller of Cumulus")
        if REFUSED in response.headers:
            raise Refused(sentence)
        return sentence

    def download(self, owner: str, job_id: int, path: str, target: Path) -> None:
        """Fetch one result file into ``target``. Raises Refused, Unreachable."""
        url = f"/getresults/{quote(owner, safe='')}/{job_id}/{quote(path, safe='')}"
        try:
            with self._http.stream("GET", url) as response, target.open("wb") as file:
                if response.status_code != httpx.codes.OK:
                    raise Refused(f"job {job_id} has no result {path}")
                for part in response.iter_bytes():
                    file.write(part)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"no controller answers at {self.url}: {error}") from None

    def healthy(self) -> bool:
        """Whether a controller answers."""
        try:
            return self._http.get("/healthz").status_code == httpx.codes.OK
        except (httpx.HTTPError, httpx.InvalidURL):
            return False

    def health(self) -> dict[str, Any]:
        """What the controller says of itself: its version, its cloud. Raises Refused, Unreachable."""
        return dict(self._json("GET", "/healthz"))

    def _json(self, method: str, url: str, **options: Any) -> Any:
        return _parsed(self._answer(method, url, **options))

    def _answer(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, url, **options)
        except httpx.TimeoutException:
            raise Unreachable(f"the controller at {self.url} has not answered within {TIMEOUT_S:.0f} s: try again") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"no controller answers at {self.url}: {error}") from None
        if response.status_code != httpx.codes.OK:
            raise Refused(f"the controller at {self.url} failed ({response.status_code}) at {url}: its log says why")
        if response.headers.get(REFUSED) == UNTRUSTED:
            raise Refused(f"the controller at {self.url} does not trust this computer's network: see trusted_networks")
        return response


def _parsed(response: httpx.Response) -> Any:
    """The answer's JSON. Raises Unreachable where it is none: then no controller answers there."""
    try:
        return response.json()
    except ValueError:
        raise Unreachable(f"what answers at {response.request.url} is no controller of Cumulus") from None
