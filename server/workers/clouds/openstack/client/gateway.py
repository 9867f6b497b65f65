"""A process between Terraform's provider and the cloud: the provider hears at once what it would see at its next look only.

It looks at a volume or server that is made or removed at once, and again after 3, 9 and 19 s: what takes 4 s costs it 9. Here the
answer to a question after something that is on its way is held back until that has changed, and all else is passed on as it is.
It is as patient as the controller itself (``wire.py``), within a rate of its own; what was repeated here is not repeated by the
provider once more.

It is a process of its own because a terraform outlives its controller: it ends when the controller is gone and nobody has asked
for a while. It holds no credentials: each request brings its token, and the cloud judges it. On standard input it gets one line
of JSON (:class:`Upstream`, ``retries``, ``requests_per_s`` and ``linger_s``), on standard output it says its port.
"""

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from server.workers.clouds.openstack.client.wire import Pace, Patience, patient_session

HOLD_S = 60.0
LOOKS_S = (0.25, 1.0)  # between two looks at the same thing: at first, at last
LOOKS_PER_S = 10.0  # at all things together, and no more than half of what the cloud is asked
BODY_LIMIT = 1 << 20  # bytes of a request; user data has 64 KB at most
CONNECT_LIMIT_S, ANSWER_LIMIT_S = 10.0, 120.0
PASSING = frozenset({429, 500, 502, 503, 504})
THING = re.compile(r"(?:.*/)?(?:servers|volumes)/[0-9a-fA-F-]{32,36}")
ON_ITS_WAY = frozenset({"creating", "downloading", "detaching", "deleting"})
HOP_BY_HOP = frozenset(
    {
        *(
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ),
        *("host", "content-length", "accept-encoding", "content-encoding", "date", "server"),
    }
)


@dataclass(frozen=True)
class Upstream:
    """Where the cloud's services are: name -> URL, and how its certificate is judged, as requests takes it."""

    services: Mapping[str, str]
    verify: bool | str = True
    cert: str | tuple[str, str] | None = None


@dataclass(frozen=True)
class Answer:
    """Of the cloud, whole."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class Question:
    """A request as it is passed on."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Gateway:
    """Asks the cloud for others.

    ``send``: a request there and its answer, OSError where there is none; ``looks_per_s``: at most, at all that is on its way.
    """

    send: Callable[[Question], Answer]
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    looks_per_s: float = LOOKS_PER_S
    held: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, question: Question) -> Answer:
        """The cloud's, maybe after a while."""
        answer = self._asked(question)
        if question.method != "GET" or not THING.fullmatch(question.url.partition("?")[0]) or not is_on_its_way(answer):
            return answer
        with self._lock:
            self.held += 1
        try:
            return self._changed(question, answer)
        finally:
            with self._lock:
                self.held -= 1

    def _changed(self, question: Question, answer: Answer) -> Answer:
        deadline, (pause_s, longest_s) = self.clock() + HOLD_S, LOOKS_S
        while is_on_its_way(answer) and self.clock() < deadline:
            self.pause(max(pause_s, self.held / self.looks_per_s))
            pause_s = min(pause_s * 1.2, longest_s)
            try:
                later = self.send(question)
            except OSError:
                return answer  # the provider has learned what was true, and asks again
            if later.status in PASSING:
                return answer
            answer = later
        return answer

    def _asked(self, question: Question) -> Answer:
        try:
            answer = self.send(question)
        except OSError as problem:
            return _unanswered(problem)
        # With Retry-After the provider would repeat the request as often as it was repeated here.
        kept = tuple(one for one in answer.headers if one[0].lower() != "retry-after")
        return replace(answer, headers=kept) if answer.status in PASSING else answer


def is_on_its_way(answer: Answer) -> bool:
    """Whether it shows a volume or server that is being made or removed."""
    if answer.status != 200:
        return False
    try:
        shown = json.loads(answer.body)
    except ValueError:
        return False
    volume, server = (shown.get(kind) if isinstance(shown, dict) else None for kind in ("volume", "server"))
    if isinstance(volume, dict):
        return volume.get("status") in ON_ITS_WAY
    return isinstance(server, dict) and (server.get("status") == "BUILD" or server.get("OS-EXT-STS:task_state") == "deleting")


def _unanswered(problem: OSError) -> Answer:
    text = json.dumps({"error": {"code": 503, "message": f"the cloud does not answer: {problem}"}})
    return Answer(503, (("Content-Type", "application/json"),), text.encode())


class Sender:
    """Sends by requests, with a session for each thread. Calling it raises OSError (requests' errors are some).

    ``patience``: how what gets no good answer is repeated, for all threads; default: it is not.
    """

    def __init__(self, upstream: Upstream, patience: Patience | None = None) -> None:
        self._upstream = upstream
        self._patience = patience or Patience(retries=0)
        self._local = threading.local()

    def __call__(self, question: Question) -> Answer:
        """The cloud's answer."""
        done = self._session().request(
            question.method,
            question.url,
            data=question.body or None,
            headers={**question.headers, "Accept-Encoding": "identity"},
            auth=_as_it_is,  # nothing of a .netrc
            verify=self._upstream.verify,
            cert=self._upstream.cert,
            timeout=(CONNECT_LIMIT_S, ANSWER_LIMIT_S),
            allow_redirects=False,
        )
        return Answer(done.status_code, tuple(done.headers.items()), done.content)

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = patient_session(self._patience)
            self._local.session.headers.clear()
        session: requests.Session = self._local.session
        return session


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class Door(ThreadingHTTPServer):
    """Takes the provider's requests on the loopback address."""

    daemon_threads = True

    def __init__(self, upstream: Upstream, gateway: Gateway) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.services = {name: url.rstrip("/") for name, url in upstream.services.items()}
        self.gateway = gateway
        self.asked = time.monotonic()  # when the last request came or ended
        self.at_work = 0
        self.lock = threading.Lock()

    def await_rest(self, linger_s: float) -> None:
        """Return when nobody has asked for so long."""
        while self.at_work or time.monotonic() - self.asked < linger_s:
            time.sleep(min(1.0, linger_s))

    def begin(self, change: int) -> None:
        """A request has begun (1), or ended (-1)."""
        with self.lock:
            self.at_work += change
            self.asked = time.monotonic()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A provider that was ended hears no answer: nothing to tell of."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Door

    def _pass_on(self) -> None:
        self.server.begin(1)
        try:
            _, service, *rest = self.path.split("/", 2)
            base = self.server.services.get(service)
            length = self.headers.get("Content-Length") or "0"
            is_body = length.isdigit() and int(length) <= BODY_LIMIT and not self.headers.get("Transfer-Encoding")
            if base is None or not is_body:
                self.close_connection = True
                return self._say(Answer(400, (), b"no such service, or a body that has no length or is too long"))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            url, body = f"{base}/{''.join(rest)}", self.rfile.read(int(length))
            self._say(self.server.gateway.answer(Question(self.command, url, headers, body)))
        finally:
            self.server.begin(-1)

    def _say(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD" and answer.status not in (204, 304):
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """A token is in no log, and nothing else is worth one."""


def main() -> None:
    """Serve until whoever started this is gone, and nobody asks any more."""
    config = json.loads(sys.stdin.readline())
    cert = tuple(config["cert"]) if isinstance(config["cert"], list) else config["cert"]
    upstream = Upstream(config["services"], config["verify"], cert)
    per_s = float(config["requests_per_s"])
    sender = Sender(upstream, Patience(int(config["retries"]), Pace(per_s)))
    door = Door(upstream, Gateway(sender, looks_per_s=min(LOOKS_PER_S, per_s / 2) if per_s else LOOKS_PER_S))
    threading.Thread(target=door.serve_forever, name="door", daemon=True).start()
    print(door.server_port, flush=True)  # noqa: T201
    sys.stdin.read()
    door.asked = time.monotonic()
    door.await_rest(float(config["linger_s"]))


if __name__ == "__main__":
    main()
