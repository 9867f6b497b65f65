"""Programs read and write UTF-8 whatever the locale, and keep the bytes of file names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.settings import CHECKOUT

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UNICODE = {"LC_ALL": "C.UTF-8"}
BEGIN = "from programs.encoding import begin_in_utf8\nbegin_in_utf8()\nimport os, sys\n"


def told(script: str, given: dict[str, str], *arguments: bytes) -> bytes:
    environment = {name: value for name, value in os.environ.items() if name not in ASCII} | given
    command = [sys.executable, "-c", BEGIN + script, *arguments]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, stdout=subprocess.PIPE, timeout=60).stdout


@pytest.mark.parametrize("given", [ASCII, UNICODE])
def test_a_file_is_read_as_utf_8(tmp_path: Path, given: dict[str, str]) -> None:
    (tmp_path / "file").write_bytes("Müller\n".encode())
    assert told(f"sys.stdout.write(open({str(tmp_path / 'file')!r}).read())", given) == "Müller\n".encode()


def test_names_that_are_not_utf_8_stay_as_they_are() -> None:
    assert told("sys.stdout.buffer.write(os.fsencode(sys.argv[1]))", ASCII, b"m\xfcller") == b"m\xfcller"


def test_where_the_locale_has_utf_8_nothing_is_begun_anew() -> None:
    assert told("print(sys.flags.utf8_mode)", UNICODE) == b"0\n"


@pytest.mark.parametrize("program", ["cumulus", "cumulus-agent"])
def test_the_programs_begin_so(program: str, tmp_path: Path) -> None:
    (tmp_path / "cumulus.toml").write_bytes("host = 'é'\nnonsense = 1\n".encode())
    environment = {**os.environ, **ASCII, "CUMULUS_HOME": str(tmp_path), "CUMULUS_AGENT_HOME": str(tmp_path)}
    command = [Path(sys.executable).with_name(program), "doctor"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False)
    assert b"UnicodeDecodeError" not in done.stderr
    assert b"Traceback" not in done.stderr
