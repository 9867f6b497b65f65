"""Keystone, Nova, Cinder and Neutron as one small HTTP server with the answers of a real cloud (Zed, recorded), page by page.

A test changes what the services hold, lets tokens expire, and makes any path fail or wait.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PROJECT = "f7f6eb690f6541099528310ebb39d8fa"
UNAUTHORIZED = {"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}}
PAGE = 2


def server(identifier: str, worker: str, status: str = "ACTIVE", **more: Any) -> dict[str, Any]:
    """A server as Nova shows it; of this installation unless ``metadata`` is given."""
    metadata = {"cumulus_server": "c0ffee", "cumulus_worker": worker}
    return {
        "id": identifier,
        "name": worker,
        "status": status,
        "tenant_id": PROJECT,
        "metadata": metadata,
        "addresses": {"lab": [{"version": 4, "addr": "198.51.100.121", "OS-EXT-IPS:type": "fixed"}]},
        "OS-EXT-STS:task_state": None,
        "os-extended-volumes:volumes_attached": [{"id": "69857bae", "delete_on_termination": True}],
        "tags": [f"{name}={value}" for name, value in metadata.items()],
        **more,
    }


def volume(identifier: str, worker: str, status: str = "in-use", **more: Any) -> dict[str, Any]:
    """A volume as Cinder shows it."""
    metadata = {"cumulus_server": "c0ffee", "cumulus_worker": worker}
    return {"id": identifier, "name": worker, "status": status, "size": 2, "metadata": metadata, **more}


def port(identifier: str, worker: str, mark: str = "cumulus_server=c0ffee") -> dict[str, Any]:
    """A port as Neutron shows it."""
    return {"id": identifier, "name": worker, "description": mark, "device_id": "", "status": "ACTIVE"}


def snapshot(identifier: str, name: str, status: str = "available", **metadata: str) -> dict[str, Any]:
    """A snapshot as Cinder shows it."""
    made = f"2026-11-2{identifier[-1]}T00:11:15.000000"
    return {"id": identifier, "name": name, "status": status, "size": 2, "created_at": made, "metadata": metadata}


def size(identifier: str, name: str, cpus: int, ram_mb: int, **more: Any) -> dict[str, Any]:
    """A flavor as Nova shows it."""
    return {"id": identifier, "name": name, "vcpus": cpus, "ram": ram_mb, "disk": 1, "OS-FLV-DISABLED:disabled": False, **more}


@dataclass
class RecordedCloud:
    """What the services hold; ``failing``: part of a path -> status and body; ``slow_s``: seconds before each answer.

    ``vanishing``: ids of what somebody else removes between a look at it and its deletion.
    """

    servers: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    ports: list[dict[str, Any]] = field(default_factory=list)
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    flavors: list[str] = field(default_factory=lambda: ["m1.4xlarge", "m1.8xlarge", "m1.heavy"])
    sizes: list[dict[str, Any]] = field(default_factory=list)
    networks: list[str] = field(default_factory=lambda: ["cumulus"])
    groups: list[str] = field(default_factory=lambda: ["cumulus-worker"])
    compute: dict[str, int] = field(
        default_factory=lambda: {
            "maxTotalInstances": 6,
            "maxTotalCores": 6,
            "maxTotalRAMSize": 4096,
            "totalInstancesUsed": 2,
            "totalCoresUsed": 2,
            "totalRAMUsed": 1536,
        }
    )
    storage: dict[str, int] = field(
        default_factory=lambda: {
            "maxTotalVolumes": 12,
            "maxTotalVolumeGigabytes": 48,
            "maxTotalSnapshots": 8,
            "totalVolumesUsed": 4,
            "totalGigabytesUsed": 12,
            "totalSnapshotsUsed": 2,
        }
    )
    failing: dict[str, tuple[int, Any]] = field(default_factory=dict)
    vanishing: set[str] = field(default_factory=set)
    password: str = "right"
    slow_s: float = 0.0
    calls: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    url: str = ""

    def expire_tokens(self) -> None:
        """As when a token's time is over."""
        self.tokens.clear()

    def answer(self, method: str, path: str, query: dict[str, str], token: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers."""
        self.calls.append(f"{method} {path}")
        if path in ("/identity/v3", "/identity/v3/"):
            return (
                200,
                {"version": {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{self.url}{path}"}]}},
                {},
            )
        if path == "/identity/v3/auth/tokens":
            return self._token(body)
        time.sleep(self.slow_s)
        for part, (status, text) in self.failing.items():
            if part in path:
                return status, text, {}
        if path in _VERSIONS:
            return 200, _versions(path, self.url), {}
        if token not in self.tokens:
            return 401, UNAUTHORIZED, {}
        return (*self._held(method, path.removeprefix("/compute/v2.1").removeprefix(f"/volume/v3/{PROJECT}"), query, body), {})

    def _token(self, body: Any) -> tuple[int, Any, dict[str, str]]:
        if body["auth"]["identity"]["password"]["user"]["password"] != self.password:
            return 401, UNAUTHORIZED, {}
        token = f"token-{len(self.calls)}"
        self.tokens.add(token)
        places = {"compute": "/compute/v2.1", "block-storage": f"/volume/v3/{PROJECT}", "network": "/network"}
        catalog = [
            {"type": kind, "name": kind, "endpoints": [{"interface": "public", "region": "RegionOne", "url": self.url + place}]}
            for kind, place in places.items()
        ]
        told = {
            "methods": ["password"],
            "user": {"id": "be1d", "name": "cumulus", "domain": {"id": "default", "name": "Default"}},
            "expires_at": "2099-11-28T00:13:39.000000Z",
            "issued_at": "2026-11-27T00:13:39.000000Z",
            "project": {"id": PROJECT, "name": "cumulus", "domain": {"id": "default", "name": "Default"}},
            "catalog": catalog,
        }
        return 201, {"token": told}, {"X-Subject-Token": token}

    def _held(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "DELETE" or path.endswith("/action"):
            return self._acted(path, body)
        kinds = {"/servers": self.servers, "/volumes": self.volumes, "/snapshots": self.snapshots, "/flavors": self.sizes}
        for root, rows in kinds.items():
            if path == f"{root}/detail":
                return 200, self._page(root, rows, query)
            if path.startswith(f"{root}/"):
                found = [row for row in rows if row["id"] == path.rsplit("/", 1)[1]]
                return (200, {root[1:-1]: found[0]}) if found else (404, _missing(path))
        return self._named(path, query)

    def _named(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/network/v2.0/ports":
            wanted = [one for one in self.ports if one["description"] == query.get("description", one["description"])]
            return 200, {"ports": wanted}
        if path == "/network/v2.0/networks":
            return 200, {"networks": [{"id": name, "name": name} for name in self.networks]}
        if path == "/network/v2.0/security-groups":
            return 200, {"security_groups": [{"id": name, "name": name} for name in self.groups]}
        if path == "/flavors":
            return 200, {"flavors": [{"id": name, "name": name} for name in self.flavors]}
        if path == "/limits":
            return 200, {"limits": {"rate": [], "absolute": {**self.compute, **self.storage}}}
        if path == f"/network/v2.0/quotas/{PROJECT}/details":
            return 200, {"quota": {"port": {"limit": 500, "used": 4, "reserved": 0}}}
        return 404, _missing(path)

    def _page(self, root: str, rows: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        """Two at a time, with a link to the next; Nova leaves out servers without the tag that is asked for."""
        kept = [row for row in rows if query.get("tags", "") in ("", *row.get("tags", ()))]
        begin = next((number + 1 for number, row in enumerate(kept) if row["id"] == query.get("marker")), 0)
        shown, name = kept[begin : begin + PAGE], root[1:]
        found: dict[str, Any] = {name: shown}
        if begin + PAGE < len(kept):
            base = f"{self.url}/compute/v2.1" if root in ("/servers", "/flavors") else f"{self.url}/volume/v3/{PROJECT}"
            tags = f"&tags={query['tags']}" if "tags" in query else ""
            found[f"{name}_links"] = [{"rel": "next", "href": f"{base}{root}/detail?marker={shown[-1]['id']}{tags}"}]
        return found

    def _acted(self, path: str, body: Any) -> tuple[int, Any]:
        parts = path.strip("/").split("/")
        if isinstance(body, dict) and "os-getConsoleOutput" in body:
            return 200, {"output": "Debian GNU/Linux 12\njob-1 login:"}
        kind, identifier = (parts[-3], parts[-2]) if parts[-1] == "action" else (parts[-2], parts[-1])
        rows: list[dict[str, Any]] = getattr(self, kind)
        found = [row for row in rows if row["id"] == identifier]
        if not found:
            return 404, _missing(path)
        rows.remove(found[0])
        if kind == "servers":  # delete_on_termination
            self.volumes[:] = [one for one in self.volumes if one["name"] != found[0]["name"]]
        if identifier in self.vanishing:
            return 404, _missing(path)
        return 204 if kind == "ports" else 202, None


_VERSIONS = frozenset(
    {
        "/compute/v2.1",
        "/compute/v2.1/",
        f"/volume/v3/{PROJECT}",
        "/volume/v3",
        "/volume/v3/",
        "/network",
        "/network/",
        "/network/v2.0",
    }
)


def _versions(path: str, url: str) -> Any:
    if path.startswith("/compute"):
        return {"version": _version("v2.1", "2.93", "2.1", f"{url}/compute/v2.1/")}
    if path.startswith("/volume"):
        return {"versions": [_version("v3.0", "3.70", "3.0", f"{url}/volume/v3/")]}
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": f"{url}/network/v2.0/"}]}]}


def _version(name: str, newest: str, oldest: str, place: str) -> dict[str, Any]:
    links = [{"rel": "self", "href": place}]
    return {"id": name, "status": "CURRENT", "version": newest, "min_version": oldest, "links": links}


def _missing(path: str) -> Any:
    return {"itemNotFound": {"code": 404, "message": f"{path} could not be found."}}


class _Handler(BaseHTTPRequestHandler):
    cloud: RecordedCloud

    def _serve(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        token = self.headers.get("X-Auth-Token", "")
        status, told, headers = self.cloud.answer(self.command, address.path, query, token, body)
        text = b"" if told is None else json.dumps(told).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815  # the names that http.server calls

    def log_message(self, *args: object) -> None:
        """Nothing."""


@contextmanager
def recorded_cloud() -> Iterator[RecordedCloud]:
    """A cloud of its own on a free port of the loopback."""
    cloud = RecordedCloud()
    handler = type("Handler", (_Handler,), {"cloud": cloud})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    cloud.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        http.shutdown()
        http.server_close()
        thread.join(5)
