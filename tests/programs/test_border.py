"""The border between a failure and a person, and the exit codes."""

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from programs.exits import ExitCode
from server.settings import CHECKOUT

BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
BEGIN = "import sys\nfrom pathlib import Path\nfrom programs.border import run\nfrom programs.errors import Expected\n"


def program(body: str, *, stdout: object = subprocess.PIPE, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """A program whose command is the body, run inside the border."""
    where = f"[Path({str(folder)!r})]" if folder else "[]"
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    text = f"{BEGIN}def command():\n{lines}\nsys.exit(run('toy', command, lambda: {where}))"
    return subprocess.run(
        ["env", "--default-signal", sys.executable, "-c", text],  # also where the tests run under nohup
        cwd=CHECKOUT,
        env=BUFFERED,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("print('well')", 0, ""),
        ("return 3", 3, ""),
        ("sys.exit('no')", 1, "toy: no\n"),
        ("raise Expected('no room\\x1b[2J', field='x')", 1, "toy: no room?[2J\n"),
        ("open('/nowhere/file')", 1, "toy: /nowhere/file: No such file or directory\n"),
        ("raise KeyboardInterrupt", 130, "toy: interrupted\n"),
        ("raise MemoryError", 1, "toy: this computer has too little memory for that\n"),
        ("raise BrokenPipeError(32, 'Broken pipe')", 1, "toy: Broken pipe\n"),  # a connection's, not the output's
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143, "toy: asked to end\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGHUP)", 129, "toy: the terminal was closed\n"),
        ("import click; raise click.UsageError('so not')", 2, "Error: so not\n"),
        ("import click; raise click.Abort", 130, ""),
    ],
)
def test_a_failure_is_an_exit_code_and_one_line(body: str, code: int, said: str) -> None:
    done = program(body)
    assert (done.returncode, done.stderr) == (code, said)


def test_an_unexpected_failure_is_one_line_that_names_the_file_with_the_details(tmp_path: Path) -> None:
    done = program("def inner(): raise ValueError('a\\nb')\ninner()", folder=tmp_path / "log")
    details = tmp_path / "log" / "errors.log"
    assert done.returncode == 70
    assert done.stderr == f"toy: an error that should not happen: ValueError: a b; the details are in {details}\n"
    assert "Traceback" in details.read_text()
    assert "in inner" in details.read_text()
    assert details.stat().st_mode & 0o077 == 0


def test_the_details_go_to_the_temporary_folder_where_the_log_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = program("1 / 0", folder=tmp_path / "file")
    details = Path(done.stderr.strip().rpartition(" ")[2])
    assert "ZeroDivisionError" in details.read_text()
    details.unlink()


def test_a_thread_that_fails_shows_no_traceback_either(tmp_path: Path) -> None:
    done = program(
        "import threading\nthread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()", folder=tmp_path
    )
    assert "Traceback" not in done.stderr
    assert "ZeroDivisionError" in (tmp_path / "errors.log").read_text()


def test_a_thread_that_only_ends_is_no_failure(tmp_path: Path) -> None:
    done = program("import threading\nthread = threading.Thread(target=sys.exit)\nthread.start()\nthread.join()", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_gets_nowhere_is_a_failure() -> None:
    with Path("/dev/full").open("w") as full:
        done = program("print('x')", stdout=full)
    assert (done.returncode, done.stderr) == (1, "toy: the output cannot be written: No space left on device\n")


def test_a_reader_that_has_ended_is_no_trouble_worth_a_word() -> None:
    read, write = os.pipe()
    os.close(read)
    done = program("print('x')", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_reader_that_ends_in_the_midst_ends_the_program_in_order(tmp_path: Path) -> None:
    done = tmp_path / "done"
    body = f"try:\n    while True: print('x' * 1000)\nfinally:\n    print('y', flush=True)\n    Path({str(done)!r}).touch()"
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    text = f"{BEGIN}def command():\n{lines}\nsys.exit(run('toy', command))"
    with subprocess.Popen(
        [sys.executable, "-c", text], cwd=CHECKOUT, env=BUFFERED, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (141, b"")
    assert done.exists()


def test_ctrl_c_while_the_interpreter_waits_at_its_end_shows_nothing() -> None:
    end = "import atexit, os, signal\natexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
    body = f"{BEGIN}{end}sys.exit(run('toy', lambda: 0))"
    done = subprocess.run([sys.executable, "-c", body], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_every_exit_code_is_documented_and_no_other_is() -> None:
    page = (CHECKOUT / "docs" / "operations.md").read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == set(ExitCode)


def test_no_command_ends_with_a_code_of_its_own() -> None:
    """``sys.exit`` gets one of :class:`ExitCode`, or a text; the programs of server/workers are no commands."""
    strange = []
    for path in (*(CHECKOUT / "server").rglob("*.py"), *(CHECKOUT / "agent").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "ctx.exit") and "workers" not in path.parts:
                text = ast.unparse(node)
                if re.search(r"exit\(.*\b\d+\b", text) or "EXIT_" in text:
                    strange.append(f"{path.name}:{node.lineno}: {text}")
    assert strange == []
