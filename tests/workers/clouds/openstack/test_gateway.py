"""The gateway between Terraform's provider and the cloud: what it holds back, what it asks again, and what it leaves alone."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from server.policy.error_classification import cause
from server.reasons import Reason
from server.settings import Settings
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.client.gateway import HOLD_S, Answer, Door, Gateway, Question, Sender, Upstream
from server.workers.clouds.openstack.client.gateway_process import VARIABLE, GatewayProcess
from server.workers.clouds.openstack.client.wire import Pace, Patience
from server.workers.clouds.openstack.cloud import OpenstackCloud
from server.workers.terraform.module import TerraformError, TerraformModule
from tests.processes import command_of
from tests.workers.clouds.openstack.conftest import give_password
from tests.workers.clouds.openstack.double import OURS, Double

BASE = "http://cloud/v3/f7f6eb690f6541099528310ebb39d8fa"
ID = "11111111-1111-1111-1111-111111111111"
Failing = Callable[..., tuple[str, list[str]]]
VOLUME, SERVER = f"{BASE}/volumes/{ID}", f"http://cloud/v2.1/servers/{ID}"


def shown(kind: str, **state: object) -> Answer:
    return Answer(200, (("Content-Type", "application/json"),), json.dumps({kind: state}).encode())


@dataclass
class Cloud:
    """Gives its answers one after the other, the last one for ever. Its clock goes by what is waited."""

    answers: list[Answer | OSError]
    now: float = 0.0
    asked: list[Question] = field(default_factory=list)

    def send(self, question: Question) -> Answer:
        self.asked.append(question)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def answer(self, method: str, url: str) -> Answer:
        gateway = Gateway(self.send, self.pause, lambda: self.now)
        return gateway.answer(Question(method, url, {}, b""))


CREATING, AVAILABLE = shown("volume", status="creating"), shown("volume", status="available")
GONE, BUSY = Answer(404, (), b"{}"), Answer(503, (), b"busy")


@pytest.mark.parametrize(
    ("url", "before", "after"),
    [
        (VOLUME, CREATING, AVAILABLE),
        (VOLUME, shown("volume", status="downloading"), shown("volume", status="error")),
        (VOLUME, shown("volume", status="deleting"), GONE),
        (SERVER, shown("server", status="BUILD"), shown("server", status="ACTIVE")),
        (SERVER, shown("server", status="BUILD"), shown("server", status="ERROR")),
        (SERVER, shown("server", **{"status": "ACTIVE", "OS-EXT-STS:task_state": "deleting"}), GONE),
    ],
)
def test_an_answer_waits_until_what_it_shows_is_no_longer_on_its_way(url: str, before: Answer, after: Answer) -> None:
    cloud = Cloud([before, before, before, after])
    assert cloud.answer("GET", url) == after
    assert len(cloud.asked) == 4
    assert 0 < cloud.now < 3  # the provider's second look would be after 3 s, its third after 9


@pytest.mark.parametrize(
    ("method", "url", "answer"),
    [
        ("GET", VOLUME, AVAILABLE),
        ("GET", VOLUME, shown("volume", status="in-use")),
        ("GET", SERVER, shown("server", **{"status": "ACTIVE", "OS-EXT-STS:task_state": None})),
        ("GET", f"{BASE}/volumes/detail", shown("volume", status="creating")),
        ("GET", f"{SERVER}/os-interface", shown("server", status="BUILD")),
        ("GET", VOLUME, Answer(200, (), b"<html>")),
        ("GET", VOLUME, Answer(200, (), b"[]")),
        ("POST", f"{BASE}/volumes", CREATING),
        ("DELETE", VOLUME, Answer(202, (), b"")),
    ],
)
def test_all_else_is_answered_at_once_and_asked_once(method: str, url: str, answer: Answer) -> None:
    cloud = Cloud([answer])
    assert cloud.answer(method, url) == answer
    assert (len(cloud.asked), cloud.now) == (1, 0)


def test_nobody_is_held_for_ever() -> None:
    cloud = Cloud([CREATING])
    assert cloud.answer("GET", VOLUME) == CREATING
    assert HOLD_S <= cloud.now < HOLD_S + 2


@pytest.mark.parametrize("trouble", [BUSY, OSError("reset")])
def test_a_cloud_that_fails_meanwhile_ends_the_wait_with_what_was_true(trouble: Answer | OSError) -> None:
    assert Cloud([CREATING, trouble]).answer("GET", VOLUME) == CREATING


def test_a_cloud_that_goes_on_failing_is_told_as_it_is() -> None:
    cloud = Cloud([BUSY])
    assert cloud.answer("GET", VOLUME) == BUSY
    unheard = Cloud([OSError("Connection refused")]).answer("GET", VOLUME)
    assert (unheard.status, b"Connection refused" in unheard.body) == (503, True)


@pytest.fixture
def failing() -> Iterator[Failing]:
    """Makes a cloud that gives these answers one after the other, the last one for ever: its URL, and what it is asked."""
    with ExitStack() as servers:

        def make(*answers: Answer) -> tuple[str, list[str]]:
            left, asked = list(answers), []

            class Handler(BaseHTTPRequestHandler):
                def answer(self) -> None:
                    self.rfile.read(int(self.headers.get("Content-Length") or 0))
                    asked.append(self.command)
                    answer = left.pop(0) if len(left) > 1 else left[0]
                    self.send_response_only(answer.status)
                    for name, value in (*answer.headers, ("Content-Length", str(len(answer.body)))):
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(answer.body)

                do_GET = do_POST = do_DELETE = answer  # noqa: N815

                def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                    pass

            server = servers.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            servers.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}", asked

        yield make


def patient(url: str) -> tuple[Gateway, list[float]]:
    """A gateway that repeats twice, and what it has waited."""
    waited: list[float] = []
    patience = Patience(2, Pace(0, pause=waited.append), pause=waited.append)
    return Gateway(Sender(Upstream({"compute": url}), patience), waited.append), waited


TOLD_LATER = Answer(429, (("Retry-After", "3"),), b"")


@pytest.mark.parametrize("trouble", [Answer(500, (), b""), Answer(503, (), b""), TOLD_LATER, Answer(429, (), b"")])
def test_a_question_that_the_cloud_could_not_answer_is_asked_again(failing: Failing, trouble: Answer) -> None:
    url, asked = failing(trouble, trouble, Answer(200, (), b"{}"))
    gateway, waited = patient(url)
    assert gateway.answer(Question("GET", f"{url}/servers/{ID}", {}, b"")).status == 200
    assert len(asked) == 3
    assert sum(waited) > (5.5 if trouble is TOLD_LATER else 0.5)


@pytest.mark.parametrize(("trouble", "times"), [(Answer(500, (), b""), 1), (Answer(502, (), b""), 1), (TOLD_LATER, 2)])
def test_what_may_have_ordered_something_is_never_sent_twice(failing: Failing, trouble: Answer, times: int) -> None:
    url, asked = failing(trouble, Answer(202, (), b"{}"))
    answer = patient(url)[0].answer(Question("POST", f"{url}/servers", {}, b"{}"))
    assert asked == ["POST"] * times
    assert answer.status == (202 if times == 2 else trouble.status)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_what_was_repeated_here_is_not_repeated_by_the_provider(failing: Failing, method: str) -> None:
    """The provider comes again after 429 where it is told when, and where a connection is refused or breaks."""
    url, asked = failing(TOLD_LATER)
    answer = patient(url)[0].answer(Question(method, f"{url}/servers/{ID}", {}, b""))
    assert len(asked) == 3
    assert (answer.status, [name for name, _ in answer.headers if name.lower() == "retry-after"]) == (429, [])
    assert patient("")[0].answer(Question(method, f"http://127.0.0.1:1/servers/{ID}", {}, b"")).status == 503


@pytest.fixture
def door(double: Double) -> Iterator[str]:
    """A gateway to the double on a free port: its URL."""
    upstream = Upstream({"volumev3": f"{double.url}/volume/v3/f7f6eb690f6541099528310ebb39d8fa"})
    with Door(upstream, Gateway(Sender(upstream))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/compute/servers", "/", "/volumev3x/a", "/http://127.0.0.1:1/"])
def test_nothing_is_passed_on_but_to_the_services_that_it_was_told(door: str, path: str) -> None:
    assert httpx.get(f"{door}{path}", trust_env=False).status_code == 400


def test_the_cloud_judges_each_request_by_its_own_token(door: str, double: Double) -> None:
    double.tokens.add("good")
    volume = double.add_volume("job-1")
    url = f"{door}/volumev3/volumes/{volume}"
    answers = [httpx.get(url, headers={"X-Auth-Token": token}, trust_env=False) for token in ("good", "bad")]
    assert [one.status_code for one in answers] == [200, 401]
    assert answers[0].json()["volume"]["id"] == volume


def test_a_controller_s_gateway_speaks_to_the_cloud_of_its_catalogue_and_ends_after_it(settings: Settings) -> None:
    gateway = GatewayProcess(Access(settings), settings, linger_s=0.1)
    assert gateway.environment() == {}  # no controller runs: Terraform asks the cloud itself
    gateway.allow()
    first = gateway.environment()[VARIABLE]
    assert gateway.environment()[VARIABLE] == first
    assert sorted(json.loads(first)) == ["compute", "volumev3"]
    assert asked(first) == 401
    (process,) = children()
    process.kill()
    process.wait(20)
    second = gateway.environment()[VARIABLE]  # one that has ended is started again
    assert asked(second) == 401
    (process,) = children()
    gateway.stop()
    process.wait(20)
    assert gateway.environment() == {}


def test_where_the_catalogue_cannot_be_read_terraform_asks_the_cloud_itself(
    settings: Settings, api: Double, tmp_path: Path
) -> None:
    give_password(tmp_path, api, "wrong")
    gateway = GatewayProcess(Access(settings), settings, linger_s=0.1)
    gateway.allow()
    assert gateway.environment() == {}
    give_password(tmp_path, api, "right")
    assert VARIABLE in gateway.environment()
    gateway.stop()


def test_what_terraform_says_of_the_gateway_is_told_of_the_cloud(settings: Settings, api: Double, tmp_path: Path) -> None:
    cloud = OpenstackCloud(settings, OURS)
    cloud.start()
    program = tmp_path / "terraform"
    program.write_text(
        "#!/usr/bin/env python3\n"
        "import json, os, sys\n"
        "url = json.loads(os.environ['TF_VAR_endpoints'])['compute'] + 'servers'\n"
        "print(f'Error: Expected HTTP response code [200] when accessing [POST {url}], but got 500 instead: x')\n"
        "sys.exit(1)\n"
    )
    program.chmod(0o755)
    source = tmp_path / "source"
    source.mkdir()
    module = TerraformModule(source, tmp_path / "module", str(program), cloud.terraform_env, cloud.translate_output)
    module.store.variable_files.folder.mkdir(parents=True)
    with pytest.raises(TerraformError) as caught:
        module._check("apply", module._command("job-1", 20).cmd("apply"))
    cloud.stop()
    for text in (caught.value.message, caught.value.output):
        assert f"[POST {api.url}/compute/v2.1/servers]" in text
    assert cause(caught.value) is Reason.CLOUD_FAILED


def asked(told: str) -> int:
    """What the cloud says to somebody without a good token."""
    url = json.loads(told)["volumev3"]
    return httpx.get(f"{url}volumes/{ID}", headers={"X-Auth-Token": "bad"}, trust_env=False).status_code


def children() -> list[psutil.Process]:
    """The gateways of this process that run."""
    return [one for one in psutil.Process().children() if any("gateway" in word for word in command_of(one))]
