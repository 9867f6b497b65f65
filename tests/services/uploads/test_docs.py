"""docs/uploads.md: its examples do what it says, and its table has every refusal."""

import inspect
import re
import subprocess
from pathlib import Path

import pytest

from server.app import Controller
from server.errors import CumulusError
from server.services.uploads import errors
from server.services.uploads.errors import UploadError
from server.settings import CHECKOUT
from tests.services.uploads.lines import line_to

PAGE = (CHECKOUT / "docs" / "uploads.md").read_text()
MB = 1 << 20


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_commands_send_a_file_over_a_line_that_breaks(url: str, controller: Controller, tmp_path: Path) -> None:
    (tmp_path / "run.mzML").write_bytes(b"0123456789abcdef" * (9 * MB // 16))
    with line_to(url, 4 * MB) as line:
        script = "\n".join(["set -u", f"SERVER=http://127.0.0.1:{line.own_port}", "TOKEN=secret", *blocks("sh")])
        quick = script.replace("sleep 1", "sleep 0.1")
        done = subprocess.run(["bash", "-c", quick], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert line.cuts >= 2, done.stderr
    assert '"state": "done"' in done.stdout, done.stderr
    assert (controller.storage.data / "run.mzML").read_bytes() == (tmp_path / "run.mzML").read_bytes()


def test_the_python_example_sends_a_file(
    url: str, controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("run.mzML").write_bytes(b"x" * 1000)
    for text in blocks("python"):
        exec(compile(text, "docs/uploads.md", "exec"), {"SERVER": url, "TOKEN": "secret"})
    assert "data/run.mzML" in capsys.readouterr().out


def test_every_refusal_is_in_the_table() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CumulusError)]
    for kind in kinds:
        if kind not in (CumulusError, UploadError):
            assert f"| {kind.http_status} | `{kind.code}` |" in PAGE
