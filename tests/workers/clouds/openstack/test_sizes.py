"""The flavors of a cloud, read with the real SDK from a server that gives them page by page."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from server.settings import Settings
from server.states import Reason
from server.workers.clouds.base import CloudError, Size
from server.workers.clouds.openstack.access import Access
from server.workers.clouds.openstack.sizes import read_sizes

openstack = pytest.importorskip("openstack")

FLAVORS = [
    {"id": "1", "name": "m1.4xlarge", "vcpus": 16, "ram": 65536, "disk": 0},
    {"id": "2", "name": "m1.tiny", "vcpus": 1, "ram": 512, "disk": 1},
    {"id": "3", "name": "m1.off", "vcpus": 1, "ram": 512, "disk": 1, "OS-FLV-DISABLED:disabled": True},
    {"id": "4", "name": "m1.large", "vcpus": 4, "ram": 16000, "disk": 10},
]


class Nova(BaseHTTPRequestHandler):
    """One flavor a page, as a cloud with many has it."""

    asked: list[str]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if not url.path.startswith("/v2.1"):
            return self._answer(404, {})
        self.asked.append(self.path)
        if not url.path.endswith("/flavors/detail"):
            links = [{"rel": "self", "href": f"http://{self.headers['Host']}/v2.1/"}]
            version = {"id": "v2.1", "status": "CURRENT", "version": "2.79", "min_version": "2.1", "links": links}
            return self._answer(200, {"version": version})
        marker = parse_qs(url.query).get("marker", ["0"])[0]
        page = [one for one in FLAVORS if one["id"] > marker][:1]
        body: dict[str, object] = {"flavors": page}
        if page and page[0]["id"] != FLAVORS[-1]["id"]:
            after = f"http://{self.headers['Host']}/v2.1/flavors/detail?marker={page[0]['id']}"
            body["flavors_links"] = [{"rel": "next", "href": after}]
        return self._answer(200, body)

    def _answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def nova() -> Iterator[ThreadingHTTPServer]:
    Nova.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nova)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def access(settings: Settings, port: int) -> Access:
    url = f"http://127.0.0.1:{port}/v2.1"

    def connect(_: Settings) -> object:
        return openstack.connection.Connection(auth_type="none", auth={"endpoint": url}, compute_endpoint_override=url)

    return Access(settings, connect)  # type: ignore[arg-type]


def test_every_page_is_read_and_what_is_switched_off_left_out(settings: Settings, nova: ThreadingHTTPServer) -> None:
    assert read_sizes(access(settings, nova.server_port), 20) == [
        Size("m1.4xlarge", 16, 64.0, 20),
        Size("m1.tiny", 1, 0.5, 20),
        Size("m1.large", 4, 15.625, 20),
    ]
    assert sum("/flavors/detail" in path for path in Nova.asked) == 4


def test_a_cloud_that_is_away_is_an_error_of_its_own(settings: Settings, nova: ThreadingHTTPServer) -> None:
    port = nova.server_port
    nova.shutdown()
    nova.server_close()
    with pytest.raises(CloudError) as caught:
        read_sizes(access(settings, port), 20)
    assert caught.value.reason is Reason.CLOUD_UNREACHABLE
