"""The forced command at the controller: what an agent asks for is done, and nothing else whatever is asked."""

import inspect
import json
import os
import shutil
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

from agent.sending import publish
from agent.sending.rsync import Rsync
from agent.sending.staging import Load
from agent.sending.target import read_target
from agent.settings import RootSetting, Settings
from tests.agent.conftest import Lab
from tests.agent.sshd import RECEIVE

JOB = "Job_7_akeller_probe_1.0_1700000007"
UPLOAD = ".upload.0123456789abcdef.0a1b2c"
OPTIONS = "-tre.LsfxCIvu --log-format=%i%I --timeout=60 --partial-dir .cumulus.partial --fsync"
GOOD = [
    f"rsync --server {OPTIONS} . data/{UPLOAD}/",
    f"rsync --server {OPTIONS} --delete-after . data/{UPLOAD}",
    f"rsync --server {OPTIONS} --bwlimit=1000 --info=NAME0,STATS . jobs/{JOB}/input/{UPLOAD}/",
    "rsync --server -ntrce.iLsfxCIvu --log-format=%i%I --delete-after . data/",
    "rsync --server -ntde.iLsfxCIvu --log-format=%i%I --ignore-existing . data",
    f"rsync --server -ntrce.iLsfxCIvu --log-format=%i%I --delete-after . jobs/{JOB}/input/",
]
PUBLISHED = [
    f"cumulus publish data/{UPLOAD}",
    f"cumulus publish jobs/{JOB}/input/{UPLOAD}",
    "cumulus look data",
    f"cumulus look jobs/{JOB}/input",
    f"cumulus finish jobs/{JOB}",
]
PLAIN = "-tre.LsfxCIvu"
FINE = f"data/{UPLOAD}/"
# Families of what must never be run. Each line is an upload but for one thing.
OTHER_PLACES = [
    *(
        "/",
        "/etc",
        "/etc/",
        ".",
        "./",
        "..",
        "../",
        "~",
        "~/data",
        "",
        "data/",
        "data",
        "data/sub",
        "data/..",
        "data/../jobs",
        "data//",
    ),
    *(
        "data/.",
        "data/./",
        "./data/",
        "/data/",
        "Data/",
        "data/*",
        "data/a.raw",
        "data/.cumulus.partial/",
        "converted/",
        "jobs",
        "jobs/",
    ),
    *("inbox/", "var/", "data/.upload./", "data/.upload", "data/.upload.x.y/", "data/.upload.0123456789ABCDEF.0a1b2c/"),
    *(
        "data/.upload.0123456789abcdef.0a1b2/",
        "data/.upload.0123456789abcdef.0a1b2cd/",
        "data/.upload.0123456789abcdef.0a1b2c.x/",
    ),
    *(
        f"{FINE}..",
        f"{FINE}../",
        f"{FINE}../../jobs/",
        f"{FINE}sub/",
        f"{FINE}.cumulus.partial/",
        f"{FINE}/",
        f"./{FINE}",
        f"/{FINE}",
    ),
    *(f"data/../{FINE}", f"data/./{UPLOAD}/", f"data//{UPLOAD}/", f"converted/{UPLOAD}/", f"{UPLOAD}/", f"jobs/{UPLOAD}/"),
    *(
        f"jobs/{JOB}",
        f"jobs/{JOB}/",
        f"jobs/{JOB}/..",
        f"jobs/{JOB}/output/",
        f"jobs/{JOB}/output/{UPLOAD}/",
        f"jobs/{JOB}/{UPLOAD}/",
    ),
    *(f"jobs/{JOB}/input", f"jobs/{JOB}/input/", f"jobs/{JOB}/input/..", f"jobs/{JOB}/input/../output/{UPLOAD}/"),
    *(
        f"jobs/{JOB}/input/x/{UPLOAD}/",
        f"jobs/{JOB}//input/{UPLOAD}/",
        f"jobs/../jobs/{JOB}/input/{UPLOAD}/",
        f"jobs/./{JOB}/input/{UPLOAD}/",
    ),
    *(f"jobs/Job_8_nobody_app_1/input/{UPLOAD}/", f"jobs/other/input/{UPLOAD}/", f"jobs/Job_0_a_b_1/input/{UPLOAD}/"),
    *(
        f"jobs/{JOB}/.cumulus.{name}"
        for name in ("cmd", "plan", "job", "log", "settings", "pid", "stop", "report", "rsync/x", "rsync/")
    ),
    *(
        f"jobs/{JOB}/.cumulus.attempt.1",
        f"jobs/{JOB}/cumulus.rsync",
        f"jobs/{JOB}/.cumulus.manifest.x",
        f"jobs/{JOB}/input/.cumulus.rsync",
    ),
]
OTHER_LONG = [
    *("--sender", "--daemon", "--delete", "--delete-before", "--delete-during", "--delete-delay", "--delete-excluded", "--del"),
    *(
        "--remove-source-files",
        "--remove-sent-files",
        "--inplace",
        "--append",
        "--append-verify",
        "--write-devices",
        "--copy-devices",
    ),
    *(
        "--log-file=/tmp/x",
        "--log-file-format=%i",
        "--temp-dir=/tmp",
        "--temp-dir=data",
        "--backup",
        "--backup-dir=/tmp",
        "--suffix=x",
    ),
    *(
        "--link-dest=/etc",
        "--link-dest=../jobs",
        "--copy-dest=/etc",
        "--compare-dest=/etc",
        "--files-from=/etc/shadow",
        "--files-from=-",
    ),
    *(
        "--partial-dir=/tmp",
        "--partial-dir=..",
        "--partial-dir",
        "--partial-dir /tmp",
        "--partial-dir ../.cumulus.partial",
        "--partial",
    ),
    *(
        "--usermap=*:root",
        "--groupmap=*:root",
        "--chown=root",
        "--chmod=u+s",
        "--numeric-ids",
        "--fake-super",
        "--super",
        "--no-super",
    ),
    *(
        "--rsync-path=sh",
        "--rsh=sh",
        "-e sh",
        "--config=/tmp/x",
        "--dparam=x",
        "--address=::",
        "--port=1",
        "--sockopts=x",
        "--no-detach",
    ),
    *("--links", "--copy-links", "--safe-links", "--munge-links", "--copy-unsafe-links", "--copy-dirlinks", "--keep-dirlinks"),
    *("--devices", "--specials", "-D", "--hard-links", "--perms", "--owner", "--group", "--acls", "--xattrs", "--executability"),
    *(
        "--relative",
        "--no-implied-dirs",
        "--mkpath",
        "--existing",
        "--max-delete=1000",
        "--ignore-errors",
        "--force",
        "--prune-empty-dirs",
    ),
    *(
        "--secluded-args",
        "--protect-args",
        "-s",
        "--trust-sender",
        "--old-args",
        "--iconv=x",
        "--batch",
        "--write-batch=x",
        "--read-batch=x",
    ),
    *(
        "--only-write-batch=/tmp/x",
        "--password-file=/etc/shadow",
        "--early-input=/etc/shadow",
        "--exclude-from=/etc/shadow",
        "--filter=x",
    ),
    *(
        "--include-from=/etc/shadow",
        "--cvs-exclude",
        "--stop-at=x",
        "--debug=ALL9",
        "--msgs2stderr",
        "--stderr=a",
        "--open-noatime",
    ),
    *(
        "--delay-updates",
        "--fuzzy",
        "--sparse",
        "--preallocate",
        "--no-r",
        "--update",
        "--atimes",
        "--crtimes",
        "--one-file-system",
    ),
    *(
        "--log-format=%i%I%n",
        "--log-format=",
        "--timeout=",
        "--timeout=-1",
        "--timeout=1234567",
        "--bwlimit=1g",
        "--info=a b",
        "--",
        "-",
    ),
    *("--fsync=1", "--delete-after=1", "--ignore-existing-x", "x", "data/", "/etc/shadow", "--server"),
]
OTHER_SHORT = [
    *(f"-{letter}{PLAIN[1:]}" for letter in "lLkKRDpgosSHAXzbuvxyWmOJPTUNCEF0fhiqBI@"),
    *(
        "-l",
        "-e",
        "e.LsfxCIvu",
        "--tre.LsfxCIvu",
        "-tre.LsfxCIvu;id",
        "-tre.Lsfx-CIvu",
        "-tre.LsfxCIvu-x",
        "-tr",
        "-vlogDtpre.iLsfxCIvu",
    ),
]
OTHER_COMMANDS = [
    *(
        "",
        " ",
        "sh",
        "bash -i",
        "rsync",
        "rsync --server",
        "rsync --version",
        "rsync --daemon",
        "scp -t data/",
        "internal-sftp",
        "true",
        "cumulus",
    ),
    *(
        "/bin/rsync --server {} . {}",
        "rsync --sender {} . {}",
        "rsync {} . {}",
        "rsyncd --server {} . {}",
        "RSYNC --server {} . {}",
    ),
    *("sudo rsync --server {} . {}", "env rsync --server {} . {}", "rsync --server --sender {} . {}", " rsync --server {} . {}"),
    *(
        "rsync  --server {} . {}",
        "rsync --server {} .  {}",
        "rsync --server {} . {} ",
        "rsync --server {} {}",
        "rsync --server {} . . {}",
    ),
    *(
        "rsync --server {} . {} /etc",
        "rsync --server {} data/ . {}",
        "rsync --server {} .. {}",
        "rsync --server {} / {}",
        "rsync --server . {}",
    ),
]
FOR_A_SHELL = [
    *(
        ";id",
        "&id",
        "&&id",
        "|sh",
        "$(id)",
        "`id`",
        "$HOME",
        "${IFS}",
        ">x",
        "<x",
        "\nid",
        "\rid",
        "\tid",
        "\0id",
        "'",
        '"',
        "\\",
        "*",
        "?",
        "[a]",
    ),
    *("{a,b}", "!", "#", "(", ")", "~", "^", "@", "+", ":", "\x1b[2J", "\x7f", "\u00e9", "\u202e", "\u2028", "\ud800"),
]
OTHER_PUBLISHING = [
    *(f"cumulus publish {place}" for place in OTHER_PLACES),
    *(f"cumulus {word} {FINE}" for word in ("Publish", "remove", "discard", "sh", "publish --force", "-c", "serve")),
    *(f"{word} publish {FINE}" for word in ("cumulus-agent", "Cumulus", "/usr/bin/cumulus", "python3", "sh")),
    *(f"cumulus publish {FINE}{tail}" for tail in FOR_A_SHELL),
    f"cumulus publish {FINE} x",
    f"cumulus  publish {FINE}",
]
OTHER_ENDS = [
    *(f"cumulus finish {place}" for place in OTHER_PLACES if place != f"jobs/{JOB}"),
    *(
        f"cumulus look {place}"
        for place in OTHER_PLACES
        if place not in ("data", "data/", f"jobs/{JOB}/input", f"jobs/{JOB}/input/")
    ),
    *(f"cumulus finish jobs/{JOB}{tail}" for tail in FOR_A_SHELL),
    *(f"cumulus look data{tail}" for tail in FOR_A_SHELL),
    *(f"cumulus look {FINE}", f"cumulus finish {FINE}", "cumulus look", "cumulus finish", f"cumulus end jobs/{JOB}"),
]
ENDS = f"jobs/{JOB}/.cumulus.rsync"
HOSTILE = [
    *(f"rsync --server {PLAIN} . {place}" for place in OTHER_PLACES),
    *(f"rsync --server {PLAIN} {option} . {FINE}" for option in OTHER_LONG),
    *(f"rsync --server {OPTIONS} {option} . {FINE}" for option in OTHER_LONG if option != "--partial-dir"),
    *(f"rsync --server -ntre.LsfxCIvu {option} . data/" for option in OTHER_LONG),
    *(f"rsync --server {options} . {FINE}" for options in OTHER_SHORT),
    *(f"rsync --server {options} . data/" for options in OTHER_SHORT),
    *(form.format(PLAIN, FINE) for form in OTHER_COMMANDS),
    *(f"rsync --server {PLAIN} . {FINE}{tail}" for tail in FOR_A_SHELL),
    *(f"rsync --server {PLAIN} {head} . {FINE}" for head in FOR_A_SHELL),
    *OTHER_PUBLISHING,
    *OTHER_ENDS,
    *(
        f"rsync --server {options} . {ENDS}"
        for options in (PLAIN, "-te.LsfxCIvu", "-te.LsfxCIvu --timeout=60", "-nte.LsfxCIvu", "-tde.LsfxCIvu")
    ),
    "rsync --server -tre.nLsfxCIvu . data/",  # the n that makes a dry run stands before the e
    f"rsync --server {PLAIN} " + "--fsync " * 1000 + f". {FINE}",
]
HOSTILE_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc/cron.d/x",
    "a\0b",
    ".cumulus.rsync",
    ".upload.x",
    "\ud800",
    7,
    None,
    ["x"],
    {"a": 1},
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
    words = receive.words_of(command)
    if words[0] == "cumulus" and len(words) == 3:
        receive.answer(storage.resolve(), words[1], words[2], "[]")
        return
    options, place = receive.checked(words)
    receive.require_place(storage.resolve(), place, options)


@pytest.mark.parametrize("command", [*GOOD, *PUBLISHED])
def test_uploads_are_taken(storage: Path, command: str) -> None:
    judge(storage, command)


def test_all_else_is_refused(storage: Path) -> None:
    taken = []
    for command in HOSTILE:
        with suppress(receive.Refused):
            judge(storage, command)
            taken.append(command)
    assert taken == []
    assert len(set(HOSTILE)) > 900


def test_hostile_command_lines_change_nothing_when_they_are_really_asked_for(storage: Path, tmp_path: Path) -> None:
    """A part of the table through the program itself, as sshd would start it."""
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    asked = [command for command in HOSTILE[::25] if "\0" not in command and "\ud800" not in command]
    for command in asked:
        done = subprocess.run(
            [str(RECEIVE), str(storage)],
            env={**os.environ, "SSH_ORIGINAL_COMMAND": command},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (13, b""), command
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_leads_out_of_the_inputs(storage: Path, tmp_path: Path, name: object) -> None:
    (storage / "data" / UPLOAD).mkdir()
    (storage / "data" / UPLOAD / "x").write_text("x")
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(receive.Refused):
        receive.answer(storage, "publish", f"data/{UPLOAD}", json.dumps(["x", name]))
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", ["", "{}", "1", '"x"', "[1", "[" * 100_000, "null", "[[]]"])
def test_what_is_no_list_of_names_is_refused(storage: Path, text: str) -> None:
    with pytest.raises(receive.Refused):
        receive.answer(storage, "publish", f"data/{UPLOAD}", text)


def test_a_link_that_got_there_is_not_given_a_name(storage: Path) -> None:
    upload = storage / "data" / UPLOAD
    upload.mkdir()
    (upload / "x").symlink_to("/etc/passwd")
    with pytest.raises(receive.Refused):
        receive.answer(storage, "publish", f"data/{UPLOAD}", '["x"]')
    shutil.rmtree(upload)
    upload.symlink_to("/etc")
    with pytest.raises(receive.Refused):
        receive.answer(storage, "publish", f"data/{UPLOAD}", '["passwd"]')


@pytest.mark.parametrize("text", ["", '{"version": 1, "files": [', '{"a": "\u00e9"}'])
def test_a_manifest_that_is_not_whole_ends_no_upload(storage: Path, text: str) -> None:
    """As where the connection was lost in the midst of it."""
    with pytest.raises(receive.Refused):
        receive.answer(storage, "finish", f"jobs/{JOB}", text)
    assert sorted(path.name for path in (storage / "jobs" / JOB).iterdir()) == ["input"]


def test_names_are_given_as_the_agent_itself_gives_them() -> None:
    """cumulus-receive has to be one file: what it shares with the agent is the same text."""
    for name in ("there", "finish", "publish", "require_name", "move", "link", "flush"):
        assert inspect.getsource(getattr(receive, name)) == inspect.getsource(getattr(publish, name))
    assert [getattr(receive, name) for name in ("PREFIX", "OWN", "NO_LINKS", "TAKEN")] == [
        publish.PREFIX,
        publish.OWN,
        publish.NO_LINKS,
        publish.TAKEN,
    ]


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
        "--delete-after",
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
    for command in (GOOD[2], GOOD[5], PUBLISHED[1], PUBLISHED[3]):
        with pytest.raises(receive.Refused):
            judge(storage, command)
    judge(storage, PUBLISHED[4])  # again, where the answer was lost: nothing is written
    assert not (storage / "jobs" / JOB / ".cumulus.manifest").exists()


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
    load = Load(str(lab.source), ("a.raw",))
    places = (f"data/{UPLOAD}", f"jobs/{JOB}/input/{UPLOAD}")
    commands = [rsync.send(load, place, checksum=checksum) for place in places for checksum in (False, True)]
    commands += [rsync.compare(load, place) for place in ("data", f"jobs/{JOB}/input", *places)]
    for command in commands:
        done = subprocess.run(command.argv, input=b"a.raw\0", capture_output=True, check=False)
        assert done.returncode == 0, (command.argv, done.stderr)
    for path in (f"{places[0]}/a.raw", f"{places[1]}/a.raw"):
        assert (storage / path).read_text() == "content"
    assert not (storage / "data" / "a.raw").exists()


def test_a_hostile_sender_cannot_leave_its_place(storage: Path, lab: Lab, tmp_path: Path) -> None:
    """A modified rsync may put anything into its list of files: here, one that sends a path with folders and one with links."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (lab.source / "sub").mkdir()
    (lab.source / "sub" / "link").symlink_to(outside)
    shell = tmp_path / "shell"
    plain = "-tre.LsfxCIvu --timeout=2"  # what the server is told, whatever the client does
    shell.write_text(f'#!/bin/sh\nSSH_ORIGINAL_COMMAND="rsync --server {plain} . data/{UPLOAD}/" exec {RECEIVE} {storage}\n')
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
