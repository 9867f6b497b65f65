"""A web proxy for machines without a way to the internet: what apt asks for is fetched here. Only plain GET of http addresses."""

import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER_LIMIT_S = 120.0
PASSED_ON = ("If-Modified-Since", "Range", "Cache-Control")


class _Handler(BaseHTTPRequestHandler):
    """Fetches one address."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        if not self.path.startswith("http://"):
            return self.send_error(400, "only http:// is fetched")
        headers = {name: self.headers[name] for name in PASSED_ON if self.headers[name]}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.path, headers=headers), timeout=ANSWER_LIMIT_S) as answer:
                self.send_response(answer.status)
                for name in ("Content-Length", "Content-Type", "Last-Modified", "Content-Range"):
                    if value := answer.headers[name]:
                        self.send_header(name, value)
                self.end_headers()
                shutil.copyfileobj(answer, self.wfile)
        except urllib.error.HTTPError as refusal:
            self.send_error(refusal.code)
        except OSError:
            self.send_error(502)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def apt_proxy(address: str) -> Iterator[str]:
    """A proxy on a free port of the address while the block runs; its own address for apt."""
    with ThreadingHTTPServer((address, 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{address}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
