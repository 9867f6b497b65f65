"""A controller that only hears /fail."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flask import Flask, request
from werkzeug.serving import make_server

from tests.agent.sshd import free_port


@dataclass
class Hearing:
    """What agents told; answers as the controller does."""

    port: int = field(default_factory=free_port)
    heard: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def listening(self) -> Iterator[None]:
        app = Flask("hearing")

        @app.post("/fail")
        def fail() -> str:
            self.heard.append((request.form["job_id"], request.form["error_message"]))
            return '""'

        server = make_server("127.0.0.1", self.port, app)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
