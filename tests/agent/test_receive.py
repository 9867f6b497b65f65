"""The forced command at the controller: what an agent asks for is done, and nothing else whatever is asked."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rsync import Rsync
from agent.settings import RootSetting, Settings
from agent.target import read_target
from tests.agent.conftest import Lab
from tests.agent.sshd import RECEIVE

JOB = "Job_7_akeller_probe_1.0_1700000007"
OPTIONS = "-tre.LsfxCIvu --log-format=%i%I --timeout=60 --partial-dir .cumulus.partial --fsync"
GOOD = [
    f"rsync --server {OPTIONS} . data/",
    f"rsync --server {OPTIONS} --delay-updates --ignore-existing . data",
    f"rsync --server {OPTIONS} --bwlimit=1000 --info=NAME0,STATS . jobs/{JOB}/input/",
    "rsync --server -ntrce.iLsfxCIvu --log-format=%i%I . data/",
    f"rsync --server -te.LsfxCIvu --timeout=60 . jobs/{JOB}/.cumulus.rsync",
    f"rsync --server -te.LsfxCIvu . jobs/{JOB}/.cumulus.manifest",
]
HOSTILE = [
    "",
    "sh",
    "rsync",
    "/bin/rsync --server -tre.LsfxCIvu . data/",
    "rsync --server --sender -tre.LsfxCIvu . data/",  # to read
    "rsync --server --daemon . data/",
    "rsync --server -tre.LsfxCIvu --delete . data/",
    "rsync --server -tre.LsfxCIvu --remove-source-files . data/",
    "rsync --server -tre.LsfxCIvu --log-file=/tmp/x . data/",
    "rsync --server -tre.LsfxCIvu --temp-dir=/tmp . data/",
    "rsync --server -tre.LsfxCIvu --backup-dir=/tmp . data/",
    "rsync --server -tre.LsfxCIvu --link-dest=/etc . data/",
    "rsync --server -tre.LsfxCIvu --files-from=/etc/shadow . data/",
    "rsync --server -tre.LsfxCIvu --inplace . data/",
    "rsync --server -tre.LsfxCIvu --write-devices . data/",
    "rsync --server -tre.LsfxCIvu --partial-dir /tmp . data/",
    "rsync --server -tre.LsfxCIvu --partial-dir . data/",
    "rsync --server -tre.LsfxCIvu --partial-dir=.. . data/",
    "rsync --server -tre.LsfxCIvu --usermap=*:root . data/",
    "rsync --server -tre.LsfxCIvu --rsync-path=sh . data/",
    "rsync --server -tre.LsfxCIvu -e sh . data/",
    "rsync --server -ltre.LsfxCIvu . data/",  # links
    "rsync --server -Dtre.LsfxCIvu . data/",  # devices
    "rsync --server -Rtre.LsfxCIvu . data/",  # paths with folders
    "rsync --server -Ktre.LsfxCIvu . data/",  # links to folders kept
    "rsync --server -ptre.LsfxCIvu . data/",  # rights
    "rsync --server -gotre.LsfxCIvu . data/",
    "rsync --server -stre.LsfxCIvu . data/",  # arguments that come later, unseen
    "rsync --server -s . data/",
    "rsync --server -tre.LsfxCIvu . /etc",
    "rsync --server -tre.LsfxCIvu . /",
    "rsync --server -tre.LsfxCIvu . .",
    "rsync --server -tre.LsfxCIvu . ..",
    "rsync --server -tre.LsfxCIvu . data/..",
    "rsync --server -tre.LsfxCIvu . data/../jobs",
    "rsync --server -tre.LsfxCIvu . data/sub",
    "rsync --server -tre.LsfxCIvu . ~/data",
    "rsync --server -tre.LsfxCIvu . converted/",
    f"rsync --server -tre.LsfxCIvu . jobs/{JOB}",
    f"rsync --server -tre.LsfxCIvu . jobs/{JOB}/",
    f"rsync --server -tre.LsfxCIvu . jobs/{JOB}/output/",
    f"rsync --server -tre.LsfxCIvu . jobs/{JOB}/input/../output",
    f"rsync --server -tre.LsfxCIvu . jobs/{JOB}/.cumulus.cmd",
    f"rsync --server -tre.LsfxCIvu . jobs/{JOB}/.cumulus.rsync/x",
    "rsync --server -tre.LsfxCIvu . jobs/Job_8_nobody_app_1/input/",  # not there
    "rsync --server -tre.LsfxCIvu . jobs/other/input/",
    "rsync --server -tre.LsfxCIvu . data/ /etc",
    "rsync --server -tre.LsfxCIvu data/ . data/",
    "rsync --server -tre.LsfxCIvu . data/;id",
    "rsync --server -tre.LsfxCIvu . $(id)",
    "rsync --server -tre.LsfxCIvu . `id`",
    "rsync --server -tre.LsfxCIvu . data/\nid",
    "rsync --server -tre.LsfxCIvu . 'data/'",
    "rsync --server -tre.LsfxCIvu . data\\/",
    "rsync --server -tre.LsfxCIvu . data/ | sh",
    "rsync  --server -tre.LsfxCIvu . data/",
    "rsync --server -tre.LsfxCIvu " + "--fsync " * 1000 + ". data/",
    "rsync --server -tre.LsfxCIvu . dâta/",
    "scp -t data/",
    "internal-sftp",
]

loader = SourceFileLoader("cumulus_receive", str(RECEIVE))
spec = spec_from_loader("cumulus_receive", loader)
assert spec
receive = module_from_spec(spec)
sys.dont_write_bytecode, kept = True, sys.dont_write_bytecode
loader.exec_module(receive)
sys.dont_write_bytecode = kept


@pytest.fixture
def storage(lab: Lab) -> Path:
    lab.in_job(7, "x")
    assert (lab.storage / "jobs" / JOB / "input").is_dir()
    return lab.storage


def judge(storage: Path, command: str) -> None:
    """Raises Refused where the command is not an upload."""
    _, place = receive.checked(receive.words_of(command))
    receive.require_place(storage.resolve(), place)


@pytest.mark.parametrize("command", GOOD)
def test_uploads_are_taken(storage: Path, command: str) -> None:
    judge(storage, command)


@pytest.mark.parametrize("command", HOSTILE)
def test_all_else_is_refused(storage: Path, command: str) -> None:
    with pytest.raises(receive.Refused):
        judge(storage, command)


@given(st.text())
def test_no_text_gets_anywhere_by_chance(text: str) -> None:
    with pytest.raises(receive.Refused):
        receive.checked(receive.words_of(text))


@given(st.lists(st.sampled_from([word for command in (*GOOD, *HOSTILE) for word in command.split()]), max_size=8))
def test_what_is_taken_has_no_option_beyond_the_known_ones(words: list[str]) -> None:
    try:
        options, place = receive.checked(["rsync", "--server", *words])
    except receive.Refused:
        return
    known = (
        "--log-format",
        "--timeout",
        "--bwlimit",
        "--info",
        "--delay-updates",
        "--fsync",
        "--ignore-existing",
        "--partial-dir",
    )
    assert all(word.startswith(known) or word == ".cumulus.partial" for word in options[1:])
    assert not set("lLkKRDpgosSHAXz") & set(options[0].partition("e")[0])
    assert place == words[-1]


def test_a_folder_that_is_a_link_is_refused(storage: Path, tmp_path: Path) -> None:
    (storage / "data").rmdir()
    (storage / "data").symlink_to(tmp_path)
    with pytest.raises(receive.Refused):
        judge(storage, GOOD[0])


def test_a_job_whose_upload_has_ended_takes_no_more_input(storage: Path) -> None:
    (storage / "jobs" / JOB / ".cumulus.rsync").touch()
    with pytest.raises(receive.Refused):
        judge(storage, GOOD[2])
    judge(storage, GOOD[4])


def test_what_the_agent_asks_of_its_rsync_is_taken(storage: Path, lab: Lab, tmp_path: Path) -> None:
    """The command lines are those that this computer's rsync makes, whatever its version."""
    shell = tmp_path / "shell"
    asked = 'while [ "$1" != rsync ]; do shift; done\nSSH_ORIGINAL_COMMAND="$*"'
    shell.write_text(f"#!/bin/sh\n{asked} exec {RECEIVE} {storage}\n")
    shell.chmod(0o755)
    lab.write("a.raw", "content")
    settings = Settings(
        home=tmp_path / "agent", target="c:", ssh=str(shell), roots=(RootSetting(path=str(lab.source)),), bwlimit_kib=9_999
    )
    rsync = Rsync(settings, read_target("c:"))
    commands = [
        rsync.send(str(lab.source), ["a.raw"], place, keep_existing=keep, checksum=compare, at_once=together)
        for place, keep, compare, together in (
            ("data", True, False, True),
            ("data", False, True, False),
            (f"jobs/{JOB}/input", False, False, True),
        )
    ]
    commands += [
        rsync.compare(str(lab.source), ["a.raw"], "data"),
        rsync.put(lab.source / "a.raw", f"jobs/{JOB}/.cumulus.manifest"),
    ]
    for command in commands:
        done = subprocess.run(command.argv, input=b"a.raw\0", capture_output=True, check=False)
        assert done.returncode == 0, (command.argv, done.stderr)
    for path in ("data/a.raw", f"jobs/{JOB}/input/a.raw", f"jobs/{JOB}/.cumulus.manifest"):
        assert (storage / path).read_text() == "content"


def test_a_hostile_sender_cannot_leave_its_place(storage: Path, lab: Lab, tmp_path: Path) -> None:
    """A modified rsync may put anything into its list of files: here, one that sends a path with folders and one with links."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (lab.source / "sub").mkdir()
    (lab.source / "sub" / "link").symlink_to(outside)
    shell = tmp_path / "shell"
    plain = "-tre.LsfxCIvu --timeout=2"  # what the server is told, whatever the client does
    shell.write_text(f'#!/bin/sh\nSSH_ORIGINAL_COMMAND="rsync --server {plain} . data/" exec {RECEIVE} {storage}\n')
    shell.chmod(0o755)
    sources = (f"{lab.source}/./sub/../../outside", str(lab.source / "sub"))
    for options in ("-rltR", "-rlt"):
        command = ["rsync", "--timeout=2", options, "-e", str(shell), *sources, "c:data/"]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        with suppress(subprocess.TimeoutExpired):  # the two wait for each other once they misunderstand each other
            child.wait(4)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert list(outside.iterdir()) == []
    assert not any(path.is_symlink() for path in storage.rglob("*"))


def test_refusals_are_told_in_one_line(storage: Path) -> None:
    done = subprocess.run(
        [str(RECEIVE), str(storage)],
        env={**os.environ, "SSH_ORIGINAL_COMMAND": "id"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (13, "", "cumulus-receive: this is not an upload\n")
