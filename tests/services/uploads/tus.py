"""A client of the protocol as plain as can be, for tests that look at each request."""

import base64
from collections.abc import Mapping

import httpx

TUS = {"Tus-Resumable": "1.0.0"}
PATH = "/api/v1/uploads"
STREAM = "application/offset+octet-stream"


def encoded(**values: str) -> str:
    """Upload-Metadata."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


class Tus:
    """One user's requests."""

    def __init__(self, url: str, user: str = "ada") -> None:
        self.http = httpx.Client(base_url=url, headers={"X-User": user}, trust_env=False, timeout=60)

    def post(self, length: int | str, headers: Mapping[str, str] | None = None, **values: str) -> httpx.Response:
        """Begin an upload."""
        told = {"Upload-Length": str(length), "Upload-Metadata": encoded(**values), **TUS, **(headers or {})}
        return self.http.post(PATH, headers=told)

    def begun(self, length: int, **values: str) -> str:
        """The URL of a new upload."""
        answer = self.post(length, **values)
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]

    def patch(self, url: str, content: bytes, offset: int | str = 0, **headers: str) -> httpx.Response:
        """A part."""
        told = {"Upload-Offset": str(offset), "Content-Type": STREAM, **TUS, **headers}
        return self.http.patch(url, content=content, headers=told)

    def offset(self, url: str) -> int:
        """How far it is."""
        return int(self.head(url).headers["Upload-Offset"])

    def head(self, url: str) -> httpx.Response:
        """What HEAD says."""
        return self.http.head(url, headers=TUS)

    def sent(self, content: bytes, **values: str) -> httpx.Response:
        """A whole file, in one part."""
        return self.patch(self.begun(len(content), **values), content)
