"""A controller that only hears /fail, and tells the states of jobs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flask import Flask, Response, request
from werkzeug.serving import make_server

from tests.agent.sshd import free_port


@dataclass
class Hearing:
    """What agents told; answers as the controller does."""

    port: int = field(default_factory=free_port)
    heard: list[tuple[str, str]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    states: dict[int, str] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    answer: str | None = None  # instead of a list of jobs
    credentials: list[str] = field(default_factory=list)
    refuses: tuple[int, str] | None = None  # whoever asks: a status, and the code of the refusal

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def listening(self) -> Iterator[None]:
        app = Flask("hearing")

        @app.before_request
        def refuse() -> Response | None:
            self.credentials.append(request.headers.get("Authorization", ""))
            if self.refuses is None or request.path == "/healthz":
                return None
            status, code = self.refuses
            return Response("[]", status, headers={"Cumulus-Refused": code})

        @app.get("/healthz")
        def healthz() -> str:
            return '{"status": "ok"}'

        @app.post("/fail")
        def fail() -> str:
            self.heard.append((request.form["job_id"], request.form["error_message"]))
            self.troubles.append(request.form.get("trouble", ""))
            return '""'

        @app.get("/joblist/<int:shown>/<int:number>")
        def joblist(shown: int, number: int) -> str:
            self.asked.append(shown)
            newest = sorted(self.states, reverse=True)[:number]
            chosen = [one for one in self.states if one in newest or one == shown]
            return json.dumps([{"id": one, "status": self.states[one]} for one in chosen]) if self.answer is None else self.answer

        server = make_server("127.0.0.1", self.port, app)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
