"""The controller's door: its limits, and which threads answer which requests.

Most answers take milliseconds, and some are long: all jobs, all files. Those have threads of their own, and so have large forms,
one at a time, since reading one takes several times its size in memory. So have uploads, whose threads take them as they come.
"""

import re
from collections.abc import Callable
from typing import Any

import structlog

from cumulus_client.operations import PREFIX, Operation
from programs.descriptors import connections_for
from programs.http.door import KEPT_BYTES, POLL_S, Door, Limits, open_door
from programs.http.unix_door import Application, UnixDoor
from server.api.desktop.refusals import encoded_refusal
from server.api.v1.operations import OPERATIONS
from server.home.folder import SOCKET_FILE
from server.settings import Settings

SHORT, LONG, LARGE, UPLOADS = range(4)  # pools
LONG_SHARE = 4  # one thread in so many gives the long answers
UPLOAD_SHARE = 2  # beside these, one in so many takes uploads
UPLOAD_PATH = "/api/v1/uploads/"
LARGE_BYTES = 256 * 1024
KEPT_FORMS = 8  # of the longest that may wait at a time, at least
READ_FACTOR = 3  # up to so many times its limit a form is read before it is refused, so that its sender hears why
LOCAL_POOLS, LOCAL_CONNECTIONS = (4, 6, 1, 2), 64  # for commands on the controller's computer; the threads of each pool
OWN_FILES = 64  # of the controller beside its threads and children: the database of the loop, logs, sockets
FILES_PER_THREAD = 4  # the database, its log, its index, a file that is read
FILES_PER_STEP = 8  # pipes and logs of a child
_LONG = re.compile(r"/+(search|storage|getfilecontent|apps|metrics|joblist/[^/]*/(-|[0-9]{4}).*)")
_OF_A_PATH = re.compile(r"{[a-z_]+}")
log = structlog.get_logger()


def open_controller_door(settings: Settings, app: Callable[..., object], connections: int, poll_s: float = POLL_S) -> Door:
    """The door of a controller with these settings, listening. Raises as :func:`open_door`."""
    limits = _limits(settings, connections)
    long = max(1, settings.threads // LONG_SHARE)
    threads = (max(1, settings.threads - long - 1), long, 1, _upload_threads(settings))
    return open_door(
        app, settings.host, settings.port, limits, encoded_refusal, threads, pool, poll_s=poll_s, is_streamed=is_upload
    )


def open_local_door(settings: Settings, app: Application) -> UnixDoor:
    """The controller's door for the users of its computer, at a Unix socket in the home. Raises OSError."""
    limits = _limits(settings, LOCAL_CONNECTIONS)
    return UnixDoor(settings.home / SOCKET_FILE, app, LOCAL_POOLS, limits, encoded_refusal, pool, is_upload)


def _limits(settings: Settings, connections: int) -> Limits:
    return Limits(
        connections,
        settings.max_header_kib * 1024,
        READ_FACTOR * settings.max_post_bytes,
        settings.header_timeout_s,
        settings.body_timeout_s,
        settings.idle_timeout_s,
        max(KEPT_BYTES, KEPT_FORMS * settings.max_post_bytes),
    )


def connections_beside(settings: Settings) -> int:
    """How many connections there can be beside all else that the controller opens. Raises TooFewFiles."""
    threads = settings.threads + _upload_threads(settings) + sum(LOCAL_POOLS) + settings.parallel_steps
    reserve = OWN_FILES + LOCAL_CONNECTIONS + FILES_PER_THREAD * threads + FILES_PER_STEP * settings.parallel_steps
    found = connections_for(settings.max_connections, reserve)
    if found < settings.max_connections:
        log.warning("fewer connections than max_connections: too few files may be open (`ulimit -Hn`)", connections=found)
    return found


def is_upload(request: Any) -> bool:
    """Whether a request brings a part of a file, which is taken as it comes; by its header."""
    method = request.headers.get("X_HTTP_METHOD_OVERRIDE", request.command)
    return bool(method == "PATCH" and request.path.startswith(UPLOAD_PATH))


def pool(request: Any) -> int:
    """Which threads answer a request."""
    if request.streamed_bytes:
        return UPLOADS
    if request.body_bytes_received > LARGE_BYTES:
        return LARGE
    is_long = _LONG.fullmatch(request.path) or _LONG_OPERATIONS.fullmatch(f"{request.command} {request.path}")
    return LONG if is_long else SHORT


def _pattern(operation: Operation[Any, Any]) -> str:
    fixed = map(re.escape, _OF_A_PATH.split(operation.path))
    return f"{operation.method} {PREFIX}{'[^/]+'.join(fixed)}"


_LONG_OPERATIONS = re.compile("|".join(_pattern(one.operation) for one in OPERATIONS if one.operation.takes_long))


def _upload_threads(settings: Settings) -> int:
    return max(2, settings.threads // UPLOAD_SHARE)
