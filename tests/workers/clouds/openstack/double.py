"""A small OpenStack for tests: it keeps servers, volumes and snapshots in memory and speaks HTTP on the loopback address.

Only what the code under test asks for, with the services' own forms and refusals. What is made is ready at the second look, and
what is deleted is gone at the second look, as on a cloud that takes its time.
"""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Flask, Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

PROJECT = "p0"
CINDER = f"/volume/v3/{PROJECT}"
NOVA = "/compute/v2.1"
Record = dict[str, Any]


@dataclass(eq=False)
class Double:
    """The cloud. Tests look at ``servers``, ``volumes`` and ``snapshots`` (id -> record), and change them as Nova would.

    ``refuse``: a request whose "METHOD /path" begins so is refused with 500. ``vanishing``: Nova's word for an action, just
    before which somebody else removes the server. ``step`` is told of each request that changes something, by the client.
    """

    url: str = ""
    servers: dict[str, Record] = field(default_factory=dict)
    volumes: dict[str, Record] = field(default_factory=dict)
    snapshots: dict[str, Record] = field(default_factory=dict)
    fail_snapshots: bool = False
    refuse: str = ""
    vanishing: str = ""
    step: Callable[[str], None] = lambda _: None
    made: int = 0

    def add_volume(self, **given: Any) -> str:
        """A volume that is ready, unless ``status`` says otherwise; its id."""
        return self._add(self.volumes, {"status": "available", "size": 2, "snapshot_id": None, "attachments": [], **given})

    def add_snapshot(self, volume: str, **given: Any) -> str:
        """A snapshot of a volume; its id."""
        return self._add(self.snapshots, {"status": "available", "size": 2, "volume_id": volume, **given})

    def add_server(self, volume: str, **given: Any) -> str:
        """A server that runs on that volume; its id."""
        self.volumes[volume]["status"] = "in-use"
        return self._add(self.servers, {"status": "ACTIVE", "tags": [], "OS-EXT-STS:task_state": None, "volume": volume, **given})

    def remove_server(self, identifier: str) -> None:
        """It is gone, and its volume free."""
        volume = self.servers.pop(identifier)["volume"]
        if volume in self.volumes:
            self.volumes[volume]["status"] = "available"

    def clear(self) -> None:
        """All is gone."""
        for kind in (self.servers, self.volumes, self.snapshots):
            kind.clear()
        self.fail_snapshots, self.refuse, self.vanishing = False, "", ""

    def _add(self, kind: dict[str, Record], record: Record) -> str:
        self.made += 1
        identifier, minutes, seconds = str(uuid.uuid4()), *divmod(self.made, 60)
        moment = f"2026-01-01T00:{minutes:02d}:{seconds:02d}.000000"
        kind[identifier] = {"id": identifier, "name": "", "metadata": {}, "created_at": moment, **record}
        return identifier


def _cinder(double: Double) -> Blueprint:
    app = Blueprint("cinder", "double", url_prefix=f"/volume/v3/{PROJECT}")
    kinds = {"volumes": double.volumes, "snapshots": double.snapshots}

    @app.get("/<any(volumes, snapshots):kind>/detail")
    def listed(kind: str) -> Response:
        return jsonify({kind: list(kinds[kind].values())})

    @app.get("/<any(volumes, snapshots):kind>")
    def named(kind: str) -> Response:
        return jsonify({kind: []})

    @app.get("/<any(volumes, snapshots):kind>/<one>")
    def shown(kind: str, one: str) -> Response:
        record = kinds[kind].get(one) or abort(404)
        answer = jsonify({kind[:-1]: record})
        if record["status"] == "creating":
            record["status"] = "error" if double.fail_snapshots and kind == "snapshots" else "available"
        elif record["status"] == "deleting":
            del kinds[kind][one]
        return answer

    @app.delete("/<any(volumes, snapshots):kind>/<one>")
    def deleted(kind: str, one: str) -> tuple[str, int]:
        record = kinds[kind].get(one) or abort(404)
        if record["status"] not in ("available", "error"):
            abort(400, f"Invalid {kind[:-1]}: its status is {record['status']}")
        if any(snapshot["volume_id"] == one for snapshot in double.snapshots.values()):
            abort(400, "Volume still has 1 dependent snapshots.")
        record["status"] = "deleting"
        return "", 202

    @app.post("/<any(volumes, snapshots):kind>/<one>/metadata")
    def marked(kind: str, one: str) -> Response:
        record = kinds[kind].get(one) or abort(404)
        record["metadata"].update(request.json["metadata"])
        return jsonify({"metadata": record["metadata"]})

    @app.post("/snapshots")
    def copied() -> tuple[Response, int]:
        given = request.json["snapshot"]
        volume = double.volumes.get(given["volume_id"]) or abort(404)
        if volume["status"] != "available" and not given.get("force"):
            abort(
                400, f"Invalid volume: Volume {volume['id']} status must be available, but current status is: {volume['status']}."
            )
        made = double.add_snapshot(volume["id"], **{**given, "status": "creating"})
        return jsonify({"snapshot": double.snapshots[made]}), 202

    return app


def _nova(double: Double) -> Blueprint:
    app = Blueprint("nova", "double", url_prefix=NOVA)

    @app.get("/servers/detail")
    def listed() -> Response:
        return jsonify({"servers": list(double.servers.values())})

    @app.get("/servers")
    def named() -> Response:
        return jsonify({"servers": []})

    @app.get("/servers/<one>")
    def shown(one: str) -> Response:
        return jsonify({"server": double.servers.get(one) or abort(404)})

    @app.post("/servers/<one>/action")
    def done(one: str) -> tuple[str, int]:
        if double.vanishing in request.json:
            double.remove_server(one)
        server = double.servers.get(one) or abort(404)
        if "forceDelete" in request.json:
            double.remove_server(one)
        elif server["status"] != "ACTIVE":
            abort(409, f"Cannot 'stop' instance {one} while it is in vm_state {server['status']}")
        else:
            server["status"] = "SHUTOFF"
        return "", 202

    return app


def _serve_the_rest(app: Flask, double: Double) -> None:
    """Keystone, an empty Neutron, and the versions that each service speaks."""
    places = {"compute": NOVA, "block-storage": CINDER, "network": "/network", "identity": "/identity/v3"}

    @app.post("/identity/v3/auth/tokens")
    def token() -> tuple[Response, int, dict[str, str]]:
        catalog = [
            {"type": kind, "name": kind, "endpoints": [{"interface": "public", "region_id": "R", "url": double.url + path}]}
            for kind, path in places.items()
        ]
        who = {"user": {"id": "u0", "name": "u"}, "project": {"id": PROJECT, "name": "p"}, "roles": [], "methods": ["password"]}
        answer = {
            **who,
            "catalog": catalog,
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
        }
        return jsonify({"token": answer}), 201, {"X-Subject-Token": "token"}

    def version(path: str, name: str, least: str = "", most: str = "") -> Record:
        links = [{"rel": "self", "href": f"{double.url}{path}/"}]
        return {"id": name, "status": "CURRENT", "min_version": least, "version": most, "links": links}

    answers: dict[str, Record] = {
        "/identity/v3": {"version": {**version("/identity/v3", "v3.14"), "status": "stable"}},
        f"{NOVA}/": {"version": version(NOVA, "v2.1", "2.1", "2.95")},
        "/volume/": {"versions": [version("/volume/v3", "v3.0", "3.0", "3.70")]},
        "/volume/v3/": {"versions": [version("/volume/v3", "v3.0", "3.0", "3.70")]},
        "/network/": {"versions": [version("/network/v2.0", "v2.0")]},
        "/network/v2.0/ports": {"ports": []},
    }
    for path, answer in answers.items():
        app.add_url_rule(path, path.replace(".", " "), lambda answer=answer: jsonify(answer))


def _fill(app: Flask, double: Double) -> None:
    app.url_map.strict_slashes = False
    app.register_blueprint(_cinder(double))
    app.register_blueprint(_nova(double))
    _serve_the_rest(app, double)

    @app.before_request
    def refuse() -> None:
        if double.refuse and f"{request.method} {request.path}".startswith(double.refuse):
            abort(500, "refused by the test")

    @app.errorhandler(HTTPException)
    def fail(error: HTTPException) -> tuple[Response, int]:
        return jsonify({"failure": {"code": error.code, "message": error.description}}), error.code or 500


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: the other side would wait 40 ms for the second

    def log_request(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def running_double() -> Iterator[Double]:
    """The cloud, while the block runs."""
    double, app = Double(), Flask("double")
    server = make_server("127.0.0.1", 0, app, request_handler=_Quiet)
    double.url = f"http://127.0.0.1:{server.port}"
    _fill(app, double)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
