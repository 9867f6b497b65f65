"""A new installation: the link that a start shows makes the first administrator, whose session then works."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from server.home.running import running_controller
from tests.conftest import eventually
from tests.test_serve import environment, start

__all__ = ["environment"]


@pytest.fixture
def log(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """What a controller says until it answers; it runs within the test."""
    process: subprocess.Popen[str] = start(environment)
    assert process.stderr
    said = ""
    while "this link makes one" not in said and (line := process.stderr.readline()):
        said += line
    eventually(lambda: running_controller(Path(environment["CUMULUS_HOME"])) is not None or process.poll() is not None)
    yield said
    process.terminate()
    process.communicate(timeout=30)


def test_the_link_of_a_start_makes_the_first_administrator(log: str) -> None:
    found = re.search(r"link=\"?(http://127\.0\.0\.1:[0-9]+)/login/link\?secret=([^\s\"]+)", log)
    assert found, log
    with httpx.Client(base_url=found[1], trust_env=False, timeout=30) as client:
        given = {"secret": found[2], "name": "ada", "password": "correct horse battery"}
        made = client.post("/api/v1/session/link", json=given)
        assert (made.status_code, "administrator" in made.json()["roles"]) == (201, True)
        assert client.get("/api/v1/session").json()["name"] == "ada"
        assert httpx.post(f"{found[1]}/api/v1/session/link", json=given, trust_env=False).status_code == 401
