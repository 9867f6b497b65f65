"""docs/api.md and docs/python.md: all examples run, in their order, against one controller, and give what the pages show."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cumulus_client.client import Cumulus, Noun
from scripts import api_table
from server.home.running import running_controller
from server.settings import CHECKOUT
from tests.conftest import eventually

DOCS = CHECKOUT / "docs"
API, PYTHON = (DOCS / "api.md").read_text(), (DOCS / "python.md").read_text()
FILES = [CHECKOUT / "examples" / "bsa" / name for name in ("BSA1.mzML.gz", "bsa.fasta")]
BLOCK = re.compile(r"^```(sh|json|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Installation:
    """A controller on the local cloud, with a user and an administrator who have tokens."""

    url: str
    token: str
    admin: str

    def environment(self, home: Path) -> dict[str, str]:
        """What the examples find there."""
        own = {"SERVER": self.url, "TOKEN": self.token, "ADMIN": self.admin}
        client = {"CUMULUS_URL": self.url, "CUMULUS_TOKEN": self.token, "XDG_CACHE_HOME": str(home)}
        return {**os.environ, **own, **client, "PYTHONPATH": str(CHECKOUT)}


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    home, log = tmp_path / "var", tmp_path / "serve.log"
    environment = {**os.environ, "CUMULUS_HOME": str(home), "CUMULUS_CLOUD": "local", "CUMULUS_MIN_FREE_GB": "0"}
    program = Path(sys.executable).parent / "cumulus"

    def cumulus(*words: str) -> str:
        done = subprocess.run([program, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    with log.open("w") as output:
        child = subprocess.Popen([program, "serve", "--port", "0"], cwd=tmp_path, env=environment, stderr=output)
    try:
        eventually(lambda: "event=ready" in log.read_text())
        running = running_controller(home)
        assert running is not None
        cumulus("user", "create", "ada")
        cumulus("user", "create", "eve", "--role", "admin")
        admin = cumulus("token", "create", "all", "--user", "eve", "--scope", "read", "--scope", "submit", "--scope", "admin")
        yield Installation(running.url, cumulus("token", "create", "laptop", "--user", "ada"), admin)
    finally:
        child.terminate()
        child.wait(60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the example, in which the commands are typed."""
    made = tmp_path / "work"
    made.mkdir()
    for path in FILES:
        shutil.copyfile(path, made / path.name)
    return made


def differences(shown: Any, real: Any, place: str = "answer") -> list[str]:
    """Where an answer is not as the page shows it: a page leaves out fields, and the ends of lists that are in the answer."""
    if isinstance(shown, dict) and isinstance(real, dict):
        lacking = [f"{place} has no {name}" for name in shown if name not in real]
        return lacking + [
            text for name in shown if name in real for text in differences(shown[name], real[name], f"{place}.{name}")
        ]
    if isinstance(shown, list) and isinstance(real, list) and shown and len(shown) <= len(real):
        pairs = enumerate(zip(shown, real, strict=False))
        return [text for number, (one, other) in pairs for text in differences(one, other, f"{place}[{number}]")]
    return [] if shown == real else [f"{place} is {real!r}, not {shown!r}"]


@pytest.mark.parametrize(
    ("shown", "real", "found"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1, "c": 0}, {"a": 1}, ["answer has no c"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}, {}]}, []),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, ["answer.a[0].b is 2, not 1"]),
        ({"a": []}, {"a": [1]}, ["answer.a is [1], not []"]),
        ([1, 2], [1], ["answer is [1], not [1, 2]"]),
        (304, 200, ["answer is 200, not 304"]),
    ],
)
def test_an_answer_that_is_not_as_shown_is_noticed(shown: Any, real: Any, found: list[str]) -> None:
    assert differences(shown, real) == found


@pytest.mark.system
def test_the_examples_of_the_api_s_page_give_what_it_shows(installation: Installation, folder: Path) -> None:
    blocks = BLOCK.findall(API)
    commands = [text for language, text in blocks if language == "sh"]
    script = "set -eo pipefail\n" + "".join(f"{{\n{text}}} > {number}.out\n" for number, text in enumerate(commands))
    environment = installation.environment(folder)
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = [(folder / f"{number}.out").read_text() for number in range(len(commands))]
    number, compared = -1, 0
    for language, text in blocks:
        if language == "sh":
            number += 1
        else:
            compared += 1
            last = outputs[number].strip()
            assert differences(json.loads(text), json.loads(last)) == [], commands[number]
    assert compared > len(commands) // 2
    assert "HLVDEPQNLIK" in (folder / "BSA1.txt").read_text()
    assert any("the app has started" in text for text in outputs)  # the log that was followed
    assert any(re.fullmatch(r"http://\S+/login/link\?secret=\S+\n", text) for text in outputs)


@pytest.mark.system
def test_the_examples_of_the_python_page_search_and_read_the_matches(installation: Installation, folder: Path) -> None:
    program = "\n".join(text for language, text in BLOCK.findall(PYTHON) if language == "python")
    environment = installation.environment(folder)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    begins = r"\n(?= *scan|\[\(|[0-9a-f]{64}$|enzyme)"
    table, query, checksum, refusal = re.split(begins, "\n" + done.stdout.strip(), flags=re.MULTILINE)[-4:]
    assert table.split("\n")[1].split()[1:4] == ["1665", "HLVDEPQNLIK", "2.5935"]
    assert query.startswith("[(1, 'done', [{'name': 'spectra'")
    assert len(checksum) == 64
    assert refusal.startswith("enzyme - ")


def test_the_first_program_of_the_python_page_has_at_most_fifteen_lines() -> None:
    first = next(text for language, text in BLOCK.findall(PYTHON) if language == "python")
    assert 0 < len([line for line in first.splitlines() if line]) <= 15


def test_the_table_of_operations_is_as_they_are() -> None:
    assert api_table.renewed(API) == API, "run python -m scripts.api_table"
    assert len(re.findall(r"^\| `\w+\.\w+` \|", API, re.MULTILINE)) == len(api_table.operations())


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        api_table.renewed("# The API")


def test_every_noun_of_the_client_is_on_its_page() -> None:
    nouns = {name for name, value in vars(Cumulus).items() if isinstance(value, Noun)}
    assert set(re.findall(r"^\| `cumulus\.(\w+)` \|", PYTHON, re.MULTILINE)) == nouns


@pytest.mark.system
def test_too_many_wrong_tokens_are_refused_with_the_time_to_wait(installation: Installation) -> None:
    for _ in range(60):
        assert httpx.get(f"{installation.url}/api/v1/me", headers={"Authorization": "Bearer cml_9_x"}).status_code == 401
    refused = httpx.get(f"{installation.url}/api/v1/me", headers={"Authorization": "Bearer cml_9_x"})
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    right = httpx.get(f"{installation.url}/api/v1/me", headers={"Authorization": f"Bearer {installation.token}"})
    assert right.json()["name"] == "ada"
