"""A real nginx with the controller's configuration before a real API: what the desktop client asks for arrives as it was sent."""

import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from server.home.running import running_controller
from server.settings import CHECKOUT
from tests.conftest import eventually
from tests.test_serve import environment, server

__all__ = ["environment", "server"]
CONFIGURATION = CHECKOUT / "scripts" / "controller" / "nginx.conf"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
pytestmark = pytest.mark.skipif(not NGINX or not shutil.which("openssl"), reason="no nginx here")
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def proxy(url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """nginx before what answers at ``url``, and a client that believes its certificate: the way is tested, not whose it is."""
    port = free_port()
    text = CONFIGURATION.read_text()
    for old, new in (
        ("/etc/cumulus/tls", str(tmp_path)),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("  listen [::]:443 ssl;\n", ""),
        ("http://127.0.0.1:5000", url),
    ):
        assert old in text
        text = text.replace(old, new)
    own = "".join(f"  {name}_temp_path {tmp_path}/{name};\n" for name in TEMPORARY)
    whole = f"daemon off;\npid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n{own}{text}}}\n"
    (tmp_path / "nginx.conf").write_text(whole)
    pair = ("-keyout", tmp_path / "key.pem", "-out", tmp_path / "certificate.pem")
    request = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", *pair)
    subprocess.run(request, check=True, capture_output=True, timeout=60)
    command = [str(NGINX), "-p", str(tmp_path), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False, timeout=30)
    assert checked.returncode == 0, checked.stderr
    nginx = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    eventually(lambda: answers(port))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, trust_env=False, timeout=30) as made:
        yield made
    nginx.terminate()
    nginx.wait(20)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def declared(environment: dict[str, str]) -> None:
    """The controller will believe that proxy; before it starts."""
    environment["CUMULUS_TRUSTED_PROXIES"] = "127.0.0.1"


@pytest.fixture
def client(
    declared: None, environment: dict[str, str], server: "subprocess.Popen[str]", tmp_path: Path
) -> Iterator[httpx.Client]:
    """Who speaks with that controller through nginx."""
    running = running_controller(Path(environment["CUMULUS_HOME"]))
    assert running
    with proxy(running.url, tmp_path) as made:
        yield made


class Echo(BaseHTTPRequestHandler):
    """Answers with the request's path, as it came."""

    def do_GET(self) -> None:
        text = self.requestline.split()[1].encode()  # self.path would have lost a slash
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class calls it so
        """Not told."""


@pytest.mark.parametrize(
    "path", ["//apps", "/getfile/ada/a%20folder%2F50%2525.txt", "/getresults/ada/1/%2e%2e%2fx", "/joblist/0/-1"]
)
def test_a_path_arrives_as_it_was_sent(path: str, tmp_path: Path) -> None:
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    with proxy(f"http://127.0.0.1:{upstream.server_port}", tmp_path) as client:
        assert client.get(client.base_url.copy_with(raw_path=path.encode())).text == path
    upstream.shutdown()
    upstream.server_close()


def test_the_desktop_clients_questions_are_answered(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200
    assert "probe_1.0" in client.get(client.base_url.copy_with(raw_path=b"//apps")).json()


def test_a_client_cannot_pretend_to_come_from_elsewhere(client: httpx.Client) -> None:
    """The address is this computer's whatever the client writes, so it is believed as ever."""
    told = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    assert "Cumulus-Refused" not in client.get("/joblist/0/100", headers=told).headers


def test_a_proxy_that_is_not_declared_makes_nobody_trusted(
    server: "subprocess.Popen[str]", environment: dict[str, str], tmp_path: Path
) -> None:
    running = running_controller(Path(environment["CUMULUS_HOME"]))
    assert running
    with proxy(running.url, tmp_path) as made:
        answer = made.get("/joblist/0/100", headers={"User-Agent": "Electron/28"})
        assert (answer.json(), answer.headers["Cumulus-Refused"]) == ([], "untrusted_network")


def test_figures_are_for_the_controllers_own_computer(client: httpx.Client) -> None:
    assert client.get("/metrics").status_code == 404


def test_a_form_of_20_mb_is_taken_and_a_larger_one_is_not(client: httpx.Client) -> None:
    form = {"username": "ada", "names": "[]", "filling": "x" * 20_000_000}
    assert client.post("/getfilecontent", data=form).status_code == 200
    assert client.post("/getfilecontent", data={**form, "more": "x" * 3_000_000}).status_code == 413
