"""A small OpenStack for tests: Keystone, Nova, Cinder, Neutron and Glance in memory, as one HTTP server on the loopback address.

Only what the code under test asks for, with the forms and refusals of a real cloud (Zed). What is made is ready at the second
look, and what is deleted is gone at the second look, as on a cloud that takes its time. A test changes what the services hold,
lets tokens expire, and makes any request fail or wait.
"""

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

PROJECT = "f7f6eb690f6541099528310ebb39d8fa"
NOVA, CINDER, NEUTRON, KEYSTONE = "/compute/v2.1", f"/volume/v3/{PROJECT}", "/network/v2.0", "/identity/v3"
GLANCE = "/image/v2"
OURS = "c0ffee"
REMOVABLE = frozenset({"available", "error", "error_restoring", "error_extending", "error_managing"})
UNAUTHORIZED = {"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}}
METADATA_KEY, METADATA_LIMIT = r"[a-zA-Z0-9\-_:. ]{1,255}", 255  # Cinder's schema of a snapshot's metadata
ATTACHED = "os-extended-volumes:volumes_attached"
Record = dict[str, Any]
COMPUTE = {
    "maxTotalInstances": 6,
    "maxTotalCores": 6,
    "maxTotalRAMSize": 4096,
    "totalInstancesUsed": 2,
    "totalCoresUsed": 2,
    "totalRAMUsed": 1536,
}
STORAGE = {
    "maxTotalVolumes": 12,
    "maxTotalVolumeGigabytes": 48,
    "maxTotalSnapshots": 8,
    "totalVolumesUsed": 4,
    "totalGigabytesUsed": 12,
    "totalSnapshotsUsed": 2,
}


@dataclass(eq=False)
class Double:
    """The cloud. What it holds is id -> record, as the services show it; tests change it as the services would.

    ``failing``: part of "METHOD /path" -> status and body. ``vanishing``: somebody else removes a thing just before a request
    with that method, or an action of that name, reaches it. ``page``: records in an answer; ``slow_s``: seconds before each.
    ``step`` is told of each request that changes something, by the client. ``networks`` and the like are names, of which there
    may be two the same: :func:`id_of` is the id of each. ``has_cinder``: whether the catalogue has it at all; ``messages``: what
    it says of a volume.
    """

    url: str = ""
    servers: dict[str, Record] = field(default_factory=dict)
    volumes: dict[str, Record] = field(default_factory=dict)
    snapshots: dict[str, Record] = field(default_factory=dict)
    ports: dict[str, Record] = field(default_factory=dict)
    flavors: dict[str, Record] = field(default_factory=dict)
    images: dict[str, Record] = field(default_factory=dict)
    networks: list[str] = field(default_factory=lambda: ["cumulus"])
    subnets: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=lambda: ["cumulus-worker"])
    server_groups: list[str] = field(default_factory=list)
    volume_types: list[str] = field(default_factory=list)
    key_pairs: list[str] = field(default_factory=list)
    zones: dict[str, bool] = field(default_factory=lambda: {"nova": True})
    volume_zones: dict[str, bool] = field(default_factory=lambda: {"disks": True})
    messages: dict[str, list[str]] = field(default_factory=dict)
    has_cinder: bool = True
    compute: dict[str, int] = field(default_factory=lambda: dict(COMPUTE))
    storage: dict[str, int] = field(default_factory=lambda: dict(STORAGE))
    fail_snapshots: bool = False
    failing: dict[str, tuple[int, Any]] = field(default_factory=dict)
    vanishing: set[str] = field(default_factory=set)
    password: str = "right"
    page: int = 1000
    slow_s: float = 0.0
    calls: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    step: Callable[[str], None] = lambda _: None
    made: int = 0

    def add_server(self, worker: str = "", volume: str = "", *, keeps_volume: bool = False, **given: Any) -> str:
        """A server that runs on that volume; of the installation ``OURS`` unless ``metadata`` is given. Its id, as of all."""
        metadata = given.setdefault("metadata", ours(worker))
        if volume:
            self.volumes[volume]["status"] = "in-use"
        record = {
            "name": worker,
            "status": "ACTIVE",
            "tenant_id": PROJECT,
            "addresses": {"lab": [{"version": 4, "addr": "198.51.100.121", "OS-EXT-IPS:type": "fixed"}]},
            "OS-EXT-STS:task_state": None,
            ATTACHED: [{"id": volume, "delete_on_termination": not keeps_volume}] if volume else [],
            "tags": [f"{name}={value}" for name, value in metadata.items()],
        }
        return self._add(self.servers, {**record, **given})

    def add_volume(self, worker: str = "", **given: Any) -> str:
        """A volume that is ready, unless ``status`` says otherwise."""
        record = {"name": worker, "status": "available", "size": 2, "snapshot_id": None, "attachments": []}
        return self._add(self.volumes, {**record, "metadata": ours(worker), **given})

    def add_snapshot(self, name: str, volume: str = "", **given: Any) -> str:
        """A snapshot that is whole, unless ``status`` says otherwise."""
        record = {"name": name, "status": "available", "size": 2, "volume_id": volume, "metadata": {}}
        return self._add(self.snapshots, {**record, **given})

    def add_port(self, worker: str, mark: str = f"cumulus_server={OURS}", **given: Any) -> str:
        """A port, which has no metadata."""
        return self._add(self.ports, {"name": worker, "description": mark, "device_id": "", "status": "ACTIVE", **given})

    def add_image(self, name: str, **given: Any) -> str:
        """An image that is whole, unless ``status`` says otherwise."""
        record = {"name": name, "status": "active", "owner": PROJECT, "min_disk": 2, "size": 1 << 20, "visibility": "private"}
        return self._add(self.images, {**record, **given})

    def add_flavor(self, name: str, cpus: int, ram_mb: int, *, disabled: bool = False, disk: int = 1) -> str:
        """A machine size."""
        size = {"name": name, "vcpus": cpus, "ram": ram_mb, "disk": disk, "OS-FLV-DISABLED:disabled": disabled}
        return self._add(self.flavors, size)

    def remove_server(self, identifier: str) -> None:
        """It is gone; its volume is free, or gone with it."""
        for attached in self.servers.pop(identifier)[ATTACHED]:
            if attached["delete_on_termination"]:
                self.volumes.pop(attached["id"], None)
            elif attached["id"] in self.volumes:
                self.volumes[attached["id"]]["status"] = "available"

    def clear(self) -> None:
        """All that was made is gone, and nothing fails."""
        for held in (self.servers, self.volumes, self.snapshots, self.ports, self.images, self.failing, self.vanishing):
            held.clear()
        self.fail_snapshots, self.has_cinder = False, True
        self.add_image("debian")

    def _add(self, held: dict[str, Record], record: Record) -> str:
        self.made += 1
        minutes, seconds = divmod(self.made, 60)
        moment = f"2026-01-01T00:{minutes:02d}:{seconds:02d}.000000"
        record = {"id": str(uuid.uuid4()), "created_at": moment, **record}
        held[record["id"]] = record
        return str(record["id"])


def id_of(name: str, number: int = 0) -> str:
    """The id of the thing of that name, the first in its list or a later one."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{number}.{name}"))


def _named(names: list[str], **more: Any) -> list[Record]:
    """Those that a query asks for, by its name or its id."""
    found = [{"id": id_of(name, names[:number].count(name)), "name": name, **more} for number, name in enumerate(names)]
    for part in ("id", "name"):
        if wanted := request.args.get(part):
            found = [one for one in found if one[part] == wanted]
    return found


def ours(worker: str) -> dict[str, str]:
    """What a worker's server and volume carry."""
    return {"cumulus_server": OURS, "cumulus_worker": worker} if worker else {}


@contextmanager
def running_double(page: int = 1000) -> Iterator[Double]:
    """The cloud on a free port, while the block runs."""
    double, app = Double(page=page), Flask("double")
    for name in ("m1.4xlarge", "m1.8xlarge", "m1.heavy"):
        double.add_flavor(name, 1, 1024)
    http = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    double.url = f"http://127.0.0.1:{http.port}"
    _fill(app, double)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield double
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: the other side would wait 40 ms for the second

    def log_request(self, *_: object) -> None:
        """Nobody reads it."""


def _fill(app: Flask, double: Double) -> None:
    app.url_map.strict_slashes = False
    for service in (_keystone, _nova, _cinder, _neutron, _glance):
        app.register_blueprint(service(double))

    @app.before_request
    def receive() -> tuple[Response, int] | None:
        what = f"{request.method} {request.path}"
        double.calls.append(what)
        if request.path.startswith(KEYSTONE):
            return None
        time.sleep(double.slow_s)
        for part, (status, body) in double.failing.items():
            if part in what:
                return jsonify(body), status
        if request.endpoint != "keystone.version" and request.headers.get("X-Auth-Token") not in double.tokens:
            return jsonify(UNAUTHORIZED), 401
        _vanish(double)
        return None

    @app.errorhandler(HTTPException)
    def fail(error: HTTPException) -> tuple[Response, int]:
        return jsonify({"failure": {"code": error.code, "message": error.description}}), error.code or 500


def _vanish(double: Double) -> None:
    """What somebody else removes at this moment goes."""
    *_, before, last = request.path.split("/")
    word, identifier = (next(iter(request.json)), before) if last == "action" else (request.method, last)
    if word not in double.vanishing:
        return
    if identifier in double.servers:
        double.remove_server(identifier)
    for held in (double.volumes, double.ports):
        held.pop(identifier, None)


def _page(double: Double, kind: str) -> Response:
    """Some of the records, with a link to the next; Nova leaves out servers without the tag that is asked for."""
    held, tag = getattr(double, kind), request.args.get("tags", "")
    kept = [one for one in held.values() if tag in ("", *one.get("tags", ()))]
    begin = next((number + 1 for number, one in enumerate(kept) if one["id"] == request.args.get("marker")), 0)
    shown = kept[begin : begin + double.page]
    found: Record = {kind: shown}
    if begin + double.page < len(kept):
        query = urlencode({**request.args, "marker": shown[-1]["id"]})
        found[f"{kind}_links"] = [{"rel": "next", "href": f"{double.url}{request.path}?{query}"}]
    return jsonify(found)


def _keystone(double: Double) -> Blueprint:
    """Tokens, and the versions that each service speaks."""
    app = Blueprint("keystone", "double")
    places = {"compute": NOVA, "network": "/network", "identity": KEYSTONE, "image": "/image"}
    volumes = {"volumev3": CINDER, "block-storage": CINDER}  # one service under two names, as most clouds have it

    @app.post(f"{KEYSTONE}/auth/tokens")
    def token() -> tuple[Response, int] | tuple[Response, int, dict[str, str]]:
        if request.json["auth"]["identity"]["password"]["user"]["password"] != double.password:
            return jsonify(UNAUTHORIZED), 401
        made = f"token-{len(double.calls)}"
        double.tokens.add(made)
        catalog = [
            {
                "type": kind,
                "name": kind,
                "endpoints": [{"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": double.url + path}],
            }
            for kind, path in (places | volumes if double.has_cinder else places).items()
        ]
        domain = {"id": "default", "name": "Default"}
        told = {
            "methods": ["password"],
            "user": {"id": "be1d", "name": "cumulus", "domain": domain},
            "project": {"id": PROJECT, "name": "cumulus", "domain": domain},
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "catalog": catalog,
        }
        return jsonify({"token": told}), 201, {"X-Subject-Token": made}

    def version() -> Response:
        path = request.path.rstrip("/")
        links = [{"rel": "self", "href": f"{double.url}{path}/"}]
        if path == KEYSTONE:
            return jsonify({"version": {"id": "v3.14", "status": "stable", "links": links}})
        if path == NOVA:
            spoken = {"id": "v2.1", "version": "2.93", "min_version": "2.1"}
            return jsonify({"version": {**spoken, "status": "CURRENT", "links": links}})
        if path.startswith("/volume"):
            links = [{"rel": "self", "href": f"{double.url}/volume/v3/"}]
            spoken = {"id": "v3.0", "version": "3.70", "min_version": "3.0"}
            return jsonify({"versions": [{**spoken, "status": "CURRENT", "links": links}]})
        if path == "/image":
            links = [{"rel": "self", "href": f"{double.url}{GLANCE}/"}]
            return jsonify({"versions": [{"id": "v2.15", "status": "CURRENT", "links": links}]})
        links = [{"rel": "self", "href": f"{double.url}{NEUTRON}/"}]
        return jsonify({"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})

    for path in (KEYSTONE, NOVA, "/volume", "/volume/v3", CINDER, "/network", NEUTRON, "/image", GLANCE):
        app.add_url_rule(f"{path}/", "version", version)
    return app


def _nova(double: Double) -> Blueprint:
    app = Blueprint("nova", "double", url_prefix=NOVA)

    @app.get("/servers/detail", defaults={"kind": "servers"})
    @app.get("/flavors/detail", defaults={"kind": "flavors"})
    def listed(kind: str) -> Response:
        return _page(double, kind)

    @app.get("/flavors")
    def flavors() -> Response:
        return jsonify({"flavors": [{"id": one["id"], "name": one["name"]} for one in double.flavors.values()]})

    @app.get("/servers/<one>")
    def shown(one: str) -> Response:
        return jsonify({"server": double.servers.get(one) or abort(404)})

    @app.post("/servers/<one>/action")
    def done(one: str) -> tuple[Response | str, int]:
        server = double.servers.get(one) or abort(404)
        if "os-getConsoleOutput" in request.json:
            return jsonify({"output": "Debian GNU/Linux 12\njob-1 login:"}), 200
        if "forceDelete" in request.json:
            double.remove_server(one)
        elif "os-start" in request.json:
            server["status"] = "ACTIVE"
        elif made := request.json.get("createImage"):
            if server["status"] not in ("ACTIVE", "SHUTOFF"):
                abort(409, f"Cannot 'createImage' instance {one} while it is in vm_state {server['status']}")
            below = double.images.get(server.get("image", {}).get("id"), {})  # its properties are handed on
            handed = {name: value for name, value in below.items() if name.startswith("cumulus_")}
            image = double.add_image(made["name"], status="saving", **{**handed, **made["metadata"]})
            return jsonify({"image_id": image}), 202
        elif server["status"] != "ACTIVE":
            abort(409, f"Cannot 'stop' instance {one} while it is in vm_state {server['status']}")
        else:
            server["status"] = "SHUTOFF"
        return "", 202

    @app.post("/servers/<one>/metadata")
    def marked(one: str) -> Response:
        server = double.servers.get(one) or abort(404)
        server["metadata"].update(request.json["metadata"])
        return jsonify({"metadata": server["metadata"]})

    @app.get("/os-availability-zone")
    def zones() -> Response:
        return jsonify({"availabilityZoneInfo": _zones(double.zones)})

    @app.get("/os-server-groups")
    def groups() -> Response:
        return jsonify({"server_groups": _named(double.server_groups, policy="anti-affinity")})

    @app.get("/os-keypairs")
    def key_pairs() -> Response:
        return jsonify({"keypairs": [{"keypair": {"name": name}} for name in double.key_pairs]})

    @app.get("/os-keypairs/<one>")
    def key_pair(one: str) -> Response:
        return jsonify({"keypair": {"name": one}}) if one in double.key_pairs else abort(404)

    @app.get("/limits")
    def limits() -> Response:
        return jsonify({"limits": {"rate": [], "absolute": double.compute}})

    return app


def _zones(zones: dict[str, bool]) -> list[Record]:
    return [{"zoneName": name, "zoneState": {"available": there}} for name, there in zones.items()]


def _cinder(double: Double) -> Blueprint:
    app = Blueprint("cinder", "double", url_prefix=CINDER)

    @app.before_request
    def exists() -> None:
        if not double.has_cinder:
            abort(404)

    @app.get("/types")
    def types() -> Response:
        return jsonify({"volume_types": _named(double.volume_types)})

    @app.get("/os-availability-zone")
    def zones() -> Response:
        return jsonify({"availabilityZoneInfo": _zones(double.volume_zones)})

    @app.get("/messages")
    def messages() -> Response:
        wanted = request.args["resource_uuid"]
        found = [
            {"resource_uuid": wanted, "user_message": text, "message_level": "ERROR", "event_id": "VOLUME_VOLUME_001_003"}
            for text in double.messages.get(wanted, [])
        ]
        return jsonify({"messages": found})

    @app.get("/<any(volumes, snapshots):kind>/detail")
    def listed(kind: str) -> Response:
        return _page(double, kind)

    @app.get("/<any(volumes, snapshots):kind>")
    def named(kind: str) -> Response:
        wanted = request.args.get("name")
        return jsonify({kind: [one for one in getattr(double, kind).values() if wanted in (None, one["name"])]})

    @app.get("/<any(volumes, snapshots):kind>/<one>")
    def shown(kind: str, one: str) -> Response:
        held = getattr(double, kind)
        record = held.get(one) or abort(404)
        answer = jsonify({kind[:-1]: record})
        if record["status"] == "creating":
            record["status"] = "error" if double.fail_snapshots and kind == "snapshots" else "available"
        elif record["status"] == "deleting":
            del held[one]
        return answer

    @app.delete("/<any(volumes, snapshots):kind>/<one>")
    def deleted(kind: str, one: str) -> tuple[str, int]:
        record = getattr(double, kind).get(one) or abort(404)
        if record["status"] not in REMOVABLE:
            abort(400, f"Invalid {kind[:-1]}: its status is {record['status']}")
        if any(snapshot["volume_id"] == one for snapshot in double.snapshots.values()):
            abort(400, "Volume still has 1 dependent snapshots.")
        record["status"] = "deleting"
        return "", 202

    @app.post("/<any(volumes, snapshots):kind>/<one>/metadata")
    def marked(kind: str, one: str) -> Response:
        record = getattr(double, kind).get(one) or abort(404)
        given = request.json["metadata"]
        if any(not re.fullmatch(METADATA_KEY, name) or len(text) > METADATA_LIMIT for name, text in given.items()):
            abort(400, "Invalid input for field/attribute metadata.")
        record["metadata"].update(given)
        return jsonify({"metadata": record["metadata"]})

    @app.post("/snapshots")
    def copied() -> tuple[Response, int]:
        given = request.json["snapshot"]
        volume = double.volumes.get(given["volume_id"]) or abort(404)
        if (status := volume["status"]) != "available" and not given.get("force"):
            abort(400, f"Invalid volume: Volume {volume['id']} status must be available, but current status is: {status}.")
        made = double.add_snapshot(volume=volume["id"], **{**given, "status": "creating"})
        return jsonify({"snapshot": double.snapshots[made]}), 202

    @app.get("/limits")
    def limits() -> Response:
        return jsonify({"limits": {"rate": [], "absolute": double.storage}})

    return app


def _neutron(double: Double) -> Blueprint:
    app = Blueprint("neutron", "double", url_prefix=NEUTRON)

    @app.get("/ports")
    def ports() -> Response:
        mark = request.args.get("description")
        return jsonify({"ports": [one for one in double.ports.values() if mark in (None, one["description"])]})

    @app.delete("/ports/<one>")
    def deleted(one: str) -> tuple[str, int]:
        double.ports.pop(one, None) or abort(404)
        return "", 204

    @app.get("/<any('networks', 'subnets', 'security-groups'):kind>")
    def named(kind: str) -> Response:
        names = {"networks": double.networks, "subnets": double.subnets, "security-groups": double.groups}[kind]
        return jsonify({kind.replace("-", "_"): _named(names)})

    @app.get(f"/quotas/{PROJECT}/details")
    def quota() -> Response:
        return jsonify({"quota": {"port": {"limit": 500, "used": 4, "reserved": 0}}})

    return app


def _glance(double: Double) -> Blueprint:
    app = Blueprint("glance", "double", url_prefix=GLANCE)

    @app.get("/images")
    def listed() -> Response:
        asked = {part: request.args[part] for part in ("name", "status", "owner") if part in request.args}
        return jsonify({"images": [one for one in double.images.values() if all(one[part] == asked[part] for part in asked)]})

    @app.get("/images/<one>")
    def shown(one: str) -> Response:
        record = double.images.get(one) or abort(404)
        answer = jsonify(record)
        if record["status"] == "saving":
            record["status"] = "active"
        return answer

    @app.delete("/images/<one>")
    def deleted(one: str) -> tuple[str, int]:
        double.images.pop(one, None) or abort(404)
        return "", 204

    @app.patch("/images/<one>")
    def changed(one: str) -> Response:
        record = double.images.get(one) or abort(404)
        for change in request.get_json(force=True):
            record[change["path"].removeprefix("/")] = change["value"]
        return jsonify(record)

    return app
