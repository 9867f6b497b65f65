"""Files on their way by real rsync and real ssh: what arrives, when it counts as arrived, and what is told when it does not."""

import json
import os
import random
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.queue.models import Job, Transfer
from agent.queue.states import JobState, TransferState
from agent.sending.carrier import Carrier
from agent.sending.children import Children
from agent.sending.rsync import Rsync
from agent.sending.sender import Sender
from agent.sending.target import read_target
from agent.serve import Agent, make_agent
from agent.settings import Settings, Verify
from agent.sources.surveyor import Surveyor
from tests.agent.conftest import Lab, job_state, order, settle
from tests.agent.hearing import Hearing
from tests.agent.sshd import Sshd, free_port, make_key

pytestmark = pytest.mark.system

STRANGE = [
    "plain.raw",
    "with blanks  two.raw",
    'it\'s "quoted" `id` $(id) ;&|.raw',
    "-rf",
    "--delete",
    "éüß 日本語 \N{SNOWMAN}.raw",
    "new\nline\tand tab\r.raw",
    "back\\slash\\#012.raw",
    "star*?[a].raw",
    "a:b.raw",
    "~",
    "#no comment.raw",
    ";no comment.raw",
    " blank before",
    "blank after ",
    "%C %n.raw",
    "x" * 240,
    "y" * 255,
    "\N{SNOWMAN}" * 85,
]


def bruker(lab: Lab, name: str = "run 1.d") -> str:
    """A folder as Bruker's instruments leave it; its path."""
    for file, size in (
        ("analysis.tdf", 50_000),
        ("analysis.tdf_bin", 300_000),
        ("42.m/microTOF Q.method", 3_000),
        ("SampleInfo.xml", 0),
    ):
        lab.write(f"{name}/{file}", random.Random(file).randbytes(size))
    return str(lab.source / name)


def same(left: Path, right: Path) -> bool:
    """Whether two files or folders have the same content."""
    if left.is_dir():
        names = sorted(str(path.relative_to(left)) for path in left.rglob("*"))
        return names == sorted(str(path.relative_to(right)) for path in right.rglob("*")) and all(
            same(left / name, right / name) for name in names if not (left / name).is_dir()
        )
    return left.read_bytes() == right.read_bytes() and int(left.stat().st_mtime) == int(right.stat().st_mtime)


def identity(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced or written."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sent_paths(lab: Lab, number: int) -> list[str]:
    """What the controller reads in a job's manifest."""
    return [file["path"] for file in json.loads(lab.in_job(number, ".cumulus.manifest").read_text())["files"]]


@pytest.fixture(params=["folder", "ssh"])
def sending(request: pytest.FixtureRequest, agent_settings: Settings) -> Agent:
    """An agent for each kind of target."""
    return request.getfixturevalue("agent" if request.param == "folder" else "remote")  # type: ignore[no-any-return]


def test_all_files_are_there_when_the_marker_is(sending: Agent, lab: Lab) -> None:
    raw, folder, own = lab.write("a.raw", random.randbytes(200_000)), bruker(lab), lab.write("list.txt", "ids")
    order(sending, lab, 1, raw, folder, local=(own,))
    settle(sending)
    assert job_state(1) == JobState.DELIVERED
    assert lab.is_marked(1)
    assert lab.in_job(1, ".cumulus.rsync").read_bytes() == b""
    assert same(Path(raw), lab.data / "a.raw")
    assert same(Path(folder), lab.data / "run 1.d")
    assert same(Path(own), lab.in_job(1, "input/list.txt"))
    assert sorted(path.name for path in lab.data.iterdir()) == ["a.raw", "run 1.d"]


def test_names_of_every_kind_arrive_as_they_are(sending: Agent, lab: Lab) -> None:
    files = [lab.write(name, name) for name in STRANGE]
    inner = lab.write("odd\n.d/'\"\\#\n ü.bin", "inner")
    order(sending, lab, 1, *files, str(Path(inner).parent), local=tuple(files))
    settle(sending)
    assert job_state(1) == JobState.DELIVERED
    for name in STRANGE:
        assert (lab.data / name).read_bytes() == name.encode()
        assert lab.in_job(1, f"input/{name}").read_bytes() == name.encode()
    assert (lab.data / "odd\n.d" / "'\"\\#\n ü.bin").read_text() == "inner"


def test_a_name_that_is_no_text_arrives_within_a_folder(agent: Agent, lab: Lab) -> None:
    folder = lab.source / "x.d"
    folder.mkdir()
    path = os.fsencode(folder) + b"/\xff\xfe.bin"
    with open(path, "wb") as file:
        file.write(b"bytes")
    os.utime(path, (1, 1))
    order(agent, lab, 1, str(folder))
    settle(agent)
    assert job_state(1) == JobState.DELIVERED
    assert os.listdir(os.fsencode(lab.data / "x.d")) == [b"\xff\xfe.bin"]


def test_many_small_files_arrive(agent: Agent, lab: Lab) -> None:
    files = [lab.write(f"{number}.mgf", str(number)) for number in range(1_000)]
    order(agent, lab, 1, local=tuple(files))
    settle(agent, limit_s=60)
    assert job_state(1) == JobState.DELIVERED
    assert {path.name: path.read_text() for path in lab.in_job(1, "input").iterdir()} == {
        f"{n}.mgf": str(n) for n in range(1_000)
    }


@pytest.mark.long
@pytest.mark.parametrize("together", [True, False])
def test_ten_thousand_small_files_arrive(remote: Agent, lab: Lab, together: bool) -> None:
    files = [lab.write(f"many.d/{number}.bin", str(number)) for number in range(10_000)]
    order(remote, lab, 1, *([str(lab.source / "many.d")] if together else files))
    settle(remote, limit_s=250)
    assert job_state(1) == JobState.DELIVERED
    arrived = lab.data / "many.d" if together else lab.data
    assert len(list(arrived.iterdir())) == 10_000


@pytest.mark.long
def test_files_of_gigabytes_arrive(remote: Agent, lab: Lab) -> None:
    sparse = Path(lab.write("sparse.raw"))
    os.truncate(sparse, 2 << 30)
    os.utime(sparse, (1, 1))
    lab.write("random.raw", b"".join(random.randbytes(1 << 24) for _ in range(64)))
    order(remote, lab, 1, str(sparse), str(lab.source / "random.raw"))
    settle(remote, limit_s=250)
    assert job_state(1) == JobState.DELIVERED
    assert (lab.data / "sparse.raw").stat().st_size == 2 << 30
    assert same(lab.source / "random.raw", lab.data / "random.raw")


def test_everybody_may_read_what_arrived_whatever_the_sources_rights_were(agent: Agent, lab: Lab) -> None:
    folder = Path(bruker(lab))
    (folder / "analysis.tdf").chmod(0o600)
    folder.chmod(0o700)
    order(agent, lab, 1, str(folder))
    settle(agent)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (lab.data / "run 1.d", *(lab.data / "run 1.d").rglob("*"))}
    assert modes == {0o755, 0o644}


def test_a_file_that_is_there_is_not_sent_again(agent: Agent, lab: Lab) -> None:
    raw = lab.write("a.raw", random.randbytes(1_000_000))
    order(agent, lab, 1, raw)
    settle(agent)
    before = identity(lab.data / "a.raw")
    order(agent, lab, 2, raw)
    settle(agent)
    assert job_state(2) == JobState.DELIVERED
    assert identity(lab.data / "a.raw") == before


def test_a_source_that_has_changed_since_the_last_job_goes_to_the_next_job_alone(sending: Agent, lab: Lab) -> None:
    for number, content in enumerate((b"a" * 1000, b"b" * 1000), 1):
        order(sending, lab, number, lab.write("a.raw", content, age_s=1000 * number))
        settle(sending)
        assert job_state(number) == JobState.DELIVERED
    assert (lab.data / "a.raw").read_bytes() == b"a" * 1000
    assert lab.in_job(2, "input/a.raw").read_bytes() == b"b" * 1000
    assert sent_paths(lab, 1) == ["data/a.raw"]
    assert sent_paths(lab, 2) == [f"jobs/{lab.job(2)}/input/a.raw"]


@pytest.mark.parametrize("same_time", [True, False])
def test_another_file_of_the_same_name_goes_to_its_job_alone(sending: Agent, lab: Lab, same_time: bool) -> None:
    order(sending, lab, 1, lab.write("monday/blank.raw", "monday "))
    settle(sending)
    there = identity(lab.data / "blank.raw")
    raw = lab.write("tuesday/blank.raw", "tuesday")
    if same_time:
        os.utime(raw, ns=(there[1],) * 2)  # of the same size, too
    order(sending, lab, 2, raw)
    order(sending, lab, 3, raw, owner="bmuster")
    settle(sending)
    assert (job_state(2), job_state(3)) == (JobState.DELIVERED, JobState.DELIVERED)
    assert identity(lab.data / "blank.raw") == there
    for number in (2, 3):
        assert lab.in_job(number, "input/blank.raw").read_text() == "tuesday"
        assert names_in(lab.in_job(number, "input")) == ["blank.raw"]
        assert sent_paths(lab, number) == [f"jobs/{lab.job(number)}/input/blank.raw"]
    assert names_in(lab.data) == ["blank.raw"]


def test_progress_follows_a_file_that_goes_to_its_job_alone(agent_settings: Settings, lab: Lab) -> None:
    (lab.data / "a.raw").write_text("another")
    agent = make_agent(agent_settings.model_copy(update={"bwlimit_kib": 2_000}))
    order(agent, lab, 1, lab.write("a.raw", random.randbytes(4_000_000)))
    client = agent.app.test_client()
    settle(agent, lambda: [row.place for row in Transfer.select() if row.state == TransferState.SENDING and row.sent] != [])
    assert list(client.get("/progress-rsync/akeller/1").get_json()) == ["a.raw"]
    assert client.get("/list-rsync").get_json() == []  # nothing of it will be in data/
    settle(agent)
    assert client.get("/progress-rsync/akeller/1").get_json() == {}
    assert job_state(1) == JobState.DELIVERED
    agent.loop.stop()


@pytest.mark.parametrize(
    "change", ["one more here", "one more there", "another content", "a file there", "an empty folder there"]
)
def test_folders_are_the_same_only_as_whole_trees(sending: Agent, lab: Lab, change: str) -> None:
    folder, there = Path(bruker(lab)), lab.data / "run 1.d"
    shutil.copytree(folder, there)
    if change == "one more here":
        lab.write("run 1.d/more.bin", "more")
    elif change == "one more there":
        (there / "42.m" / "left.bin").write_text("left")
    elif change == "another content":
        found = (there / "analysis.tdf").stat()
        (there / "analysis.tdf").write_bytes(b"x" * found.st_size)
        os.utime(there / "analysis.tdf", ns=(found.st_mtime_ns,) * 2)
    else:
        shutil.rmtree(there)
        there.write_text("file") if change == "a file there" else there.mkdir()
    before = sorted(str(path) for path in lab.data.rglob("*"))
    order(sending, lab, 1, str(folder))
    settle(sending)
    assert job_state(1) == JobState.DELIVERED
    assert sorted(str(path) for path in lab.data.rglob("*")) == before
    assert same(folder, lab.in_job(1, "input/run 1.d"))
    assert all(path.startswith(f"jobs/{lab.job(1)}/input/run 1.d/") for path in sent_paths(lab, 1))


@pytest.mark.parametrize("same_time", [True, False])
def test_the_manifest_tells_the_time_of_what_was_there_only_where_it_is_the_source_s(
    sending: Agent, lab: Lab, same_time: bool
) -> None:
    raw, new = Path(lab.write("a.raw", "spectra")), Path(lab.write("new.raw", "new"))
    shutil.copy2(raw, lab.data)
    if not same_time:
        os.utime(lab.data / "a.raw", (1, 1))
    order(sending, lab, 1, str(raw), str(new))
    settle(sending)
    files = json.loads(lab.in_job(1, ".cumulus.manifest").read_text())["files"]
    told = {file["path"]: file["modified_ns"] for file in files}
    assert told == {"data/a.raw": raw.stat().st_mtime_ns if same_time else 0, "data/new.raw": new.stat().st_mtime_ns}


def test_a_folder_that_is_the_same_is_shared(sending: Agent, lab: Lab) -> None:
    folder = Path(bruker(lab))
    shutil.copytree(folder, lab.data / "run 1.d")
    order(sending, lab, 1, str(folder))
    settle(sending)
    assert job_state(1) == JobState.DELIVERED
    assert names_in(lab.in_job(1, "input")) == []
    assert names_in(lab.data) == ["run 1.d"]


def test_a_folder_that_is_sent_again_is_what_the_source_is(sending: Agent, lab: Lab) -> None:
    """What a former attempt left in the job's own input, half files and files that the source has no more, does not stay."""
    folder, there = Path(bruker(lab)), lab.in_job(1, "input/run 1.d")
    upload = there.parent / ".upload.0123456789abcdef.012345" / "run 1.d"
    for place in (there, upload):
        shutil.copytree(folder, place)
        (place / "old.bin").write_text("old")
        (place / ".analysis.tdf.XyZ123").write_text("half")
        (place / "42.m" / ".cumulus.partial").mkdir()
        (place / "42.m" / ".cumulus.partial" / "gone.method").write_text("half")
    order(sending, lab, 1, local=(str(folder),))
    Transfer.update(upload=upload.parent.name).execute()
    settle(sending)
    assert job_state(1) == JobState.DELIVERED
    assert same(folder, there)
    assert names_in(there.parent) == ["run 1.d"]


def test_the_same_content_under_the_same_name_is_taken_from_wherever_it_comes(agent: Agent, lab: Lab) -> None:
    order(agent, lab, 1, lab.write("monday/blank.raw", "blank"))
    settle(agent)
    order(agent, lab, 2, lab.write("tuesday/blank.raw", "blank", age_s=10_000))
    settle(agent)
    assert job_state(2) == JobState.DELIVERED


@pytest.mark.parametrize("verify", list(Verify))
def test_a_file_that_another_program_put_there_is_compared_by_its_content(
    agent_settings: Settings, lab: Lab, verify: Verify
) -> None:
    agent = make_agent(agent_settings.model_copy(update={"verify": verify}))
    raw = Path(lab.write("a.raw", b"right" * 1000))
    shutil.copy2(raw, lab.data / "a.raw")
    (lab.data / "a.raw").write_bytes(b"wrong" * 1000)
    os.utime(lab.data / "a.raw", ns=(raw.stat().st_mtime_ns,) * 2)  # it looks the same by size and time
    order(agent, lab, 1, str(raw))
    settle(agent)
    assert job_state(1) == JobState.DELIVERED
    assert (lab.data / "a.raw").read_bytes() == b"wrong" * 1000
    assert lab.in_job(1, "input/a.raw").read_bytes() == b"right" * 1000
    agent.loop.stop()


def test_what_was_damaged_in_the_storage_since_it_was_sent_is_not_taken(agent: Agent, lab: Lab) -> None:
    raw = Path(lab.write("a.raw", b"right" * 1000))
    order(agent, lab, 1, str(raw))
    settle(agent)
    (lab.data / "a.raw").write_bytes(b"wrong" * 1000)
    os.utime(lab.data / "a.raw", ns=(raw.stat().st_mtime_ns,) * 2)
    order(agent, lab, 2, str(raw))
    settle(agent)
    assert lab.in_job(2, "input/a.raw").read_bytes() == b"right" * 1000


@pytest.mark.parametrize("change", ["written", "truncated", "replaced", "replaced with the same time and size"])
def test_a_source_that_changes_while_it_is_sent_is_sent_again(agent_settings: Settings, lab: Lab, change: str) -> None:
    agent = make_agent(agent_settings.model_copy(update={"bwlimit_kib": 4_000}))
    raw = Path(lab.write("a.raw", b"0" * 4_000_000))
    order(agent, lab, 1, str(raw))
    settle(agent, lambda: Transfer.get().state == TransferState.SENDING and len(list(lab.data.rglob(".a.raw.*"))) == 1)
    if change == "written":
        with raw.open("r+b") as file:
            file.write(b"1" * 100)
    elif change == "truncated":
        os.truncate(raw, 1_000_000)
    else:
        other = Path(lab.write("other", b"2" * (4_000_000 if "same" in change else 3_000_000)))
        os.utime(other, ns=(raw.stat().st_mtime_ns,) * 2)
        other.rename(raw)
    settle(agent)
    assert job_state(1) == JobState.DELIVERED
    assert (lab.data / "a.raw").read_bytes() == raw.read_bytes()
    assert names_in(lab.data) == ["a.raw"]
    agent.loop.stop()


def test_an_empty_file_and_an_empty_folder_arrive(sending: Agent, lab: Lab) -> None:
    (lab.source / "empty.d").mkdir()
    order(sending, lab, 1, lab.write("empty.raw", b""), str(lab.source / "empty.d"))
    settle(sending)
    order(sending, lab, 2, str(lab.source / "empty.raw"), str(lab.source / "empty.d"))
    settle(sending)
    assert (job_state(1), job_state(2)) == (JobState.DELIVERED, JobState.DELIVERED)
    assert names_in(lab.data) == ["empty.d", "empty.raw"]
    assert names_in(lab.in_job(2, "input")) == []


def test_two_files_of_one_name_are_refused_at_the_controller_before_anything_is_sent(agent_settings: Settings, lab: Lab) -> None:
    controller = Hearing()
    agent = make_agent(agent_settings.model_copy(update={"controller": controller.url}))
    with controller.listening():
        order(agent, lab, 1, lab.write("x/b.mzML", "one"), lab.write("good.raw"), local=(lab.write("y/b.mzML", "two"),))
        settle(agent)
    [(number, why)] = controller.heard
    assert number == "1"
    assert "x/b.mzML" in why
    assert "y/b.mzML" in why
    assert [path for path in lab.storage.rglob("*") if path.is_file()] == []
    agent.loop.stop()


@pytest.mark.parametrize("kind", ["missing", "link", "fifo", "missing in a folder"])
def test_a_source_that_cannot_be_sent_fails_the_job_with_its_name(agent: Agent, lab: Lab, kind: str) -> None:
    path = lab.source / "x.d"
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "missing in a folder":
        path = lab.source / "gone" / "a.raw"
        lab.write("gone/b.raw")
    order(agent, lab, 1, lab.write("good.raw"), str(path))
    settle(agent)
    assert job_state(1) == JobState.FAILED
    assert str(path) in Job.get().message
    assert not lab.is_marked(1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_in_a_folder_is_named(agent: Agent, lab: Lab) -> None:
    folder = Path(bruker(lab))
    (folder / "analysis.tdf").chmod(0)
    order(agent, lab, 1, str(folder))
    settle(agent)
    assert "analysis.tdf" in Job.get().message


def test_a_link_in_the_way_does_not_lead_out_of_the_roots(agent: Agent, lab: Lab) -> None:
    (lab.top / "secret").mkdir()
    (lab.top / "secret" / "a.raw").write_text("secret")
    (lab.source / "way").symlink_to(lab.top / "secret")
    order(agent, lab, 1, str(lab.source / "way" / "a.raw"))
    settle(agent)
    assert job_state(1) == JobState.FAILED
    assert "a link leads out" in Job.get().message
    assert list(lab.data.iterdir()) == []


def test_a_changed_host_key_is_named_and_nothing_is_sent(ssh_settings: Settings, sshd: Sshd, lab: Lab) -> None:
    make_key(lab.top / "other")
    sshd.trust(ssh_settings.known_hosts, (lab.top / "other.pub").read_text())
    agent = make_agent(ssh_settings)
    order(agent, lab, 1, lab.write("a.raw"))
    settle(agent)
    assert job_state(1) == JobState.FAILED
    assert "host key" in Job.get().message
    assert list(lab.data.iterdir()) == []
    agent.loop.stop()


def test_a_refused_key_is_named(ssh_settings: Settings, sshd: Sshd, lab: Lab) -> None:
    (sshd.folder / "authorized_keys").write_text("")
    agent = make_agent(ssh_settings)
    order(agent, lab, 1, lab.write("a.raw"))
    settle(agent)
    assert "refuses the agent's key" in Job.get().message
    agent.loop.stop()


def test_a_job_whose_folder_is_gone_fails_and_no_folder_is_made(remote: Agent, lab: Lab) -> None:
    order(remote, lab, 1, lab.write("a.raw"), local=(lab.write("l.txt"),))
    shutil.rmtree(lab.storage / "jobs" / lab.job(1))
    order(remote, lab, 2, lab.write("b.raw"))
    shutil.rmtree(lab.storage / "jobs" / lab.job(2))
    settle(remote)
    assert (job_state(1), job_state(2)) == (JobState.FAILED, JobState.FAILED)
    assert "job's folder is not in the storage" in Job.get(Job.number == 2).message
    assert list((lab.storage / "jobs").iterdir()) == []


def test_one_bad_file_among_many_fails_its_own_job_alone(agent: Agent, lab: Lab) -> None:
    good, bad = lab.write("good.txt", "g"), lab.write("bad.txt", "b")
    order(agent, lab, 1, good)
    order(agent, lab, 2, bad)
    (lab.data / "bad.txt").mkdir()  # so it would go to the job's own input, which is gone
    shutil.rmtree(lab.in_job(2, "input"))
    settle(agent)
    assert (job_state(1), job_state(2)) == (JobState.DELIVERED, JobState.FAILED)
    assert (lab.data / "good.txt").read_text() == "g"


def test_a_full_target_is_named_and_waited_for(agent_settings: Settings, lab: Lab, small_disk: Path) -> None:
    (small_disk / "data").mkdir()
    shutil.rmtree(lab.data)
    lab.data.symlink_to(small_disk / "data")
    agent = make_agent(agent_settings)
    order(agent, lab, 1, lab.write("a.raw", random.randbytes(3_000_000)))
    settle(agent, lambda: "The storage is full" in Transfer.get().message)
    assert (job_state(1), lab.is_marked(1)) == (JobState.SENDING, False)
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)  # somebody makes room
    settle(agent)
    assert (job_state(1), lab.is_marked(1)) == (JobState.DELIVERED, True)
    agent.loop.stop()


def test_a_storage_that_refuses_is_told_as_such(agent_settings: Settings, lab: Lab) -> None:
    controller = Hearing()
    agent = make_agent(agent_settings.model_copy(update={"controller": controller.url}))
    with controller.listening():
        order(agent, lab, 1, lab.write("a.raw"))
        shutil.rmtree(lab.data)
        settle(agent)
    assert controller.troubles == ["target_gone"]
    agent.loop.stop()


def test_a_job_cancelled_in_the_moment_before_rsync_begins_is_not_sent(agent_settings: Settings, lab: Lab) -> None:
    settings = agent_settings.model_copy(update={"bwlimit_kib": 500})
    agent = make_agent(settings)
    children = Children(settings.home)
    order(agent, lab, 1, lab.write("a.raw", random.randbytes(5_000_000)))
    Surveyor(settings, settings.places(), agent.queue, children, time.time).survey(agent.queue.transfers.to_survey(time.time()))
    batch = agent.queue.next_batch(time.time())
    agent.queue.jobs.cancel("akeller", 1, time.time())
    begin = time.monotonic()
    rsync = Rsync(settings, read_target(settings.target))
    carrier = Carrier(settings, read_target(settings.target), rsync, children)
    Sender(settings, settings.places(), agent.queue, carrier, children, time.time).send(batch)
    assert time.monotonic() - begin < 8  # seconds; the whole file would take ten
    assert not (lab.data / "a.raw").exists()
    agent.loop.stop()


@pytest.fixture
def daemon(lab: Lab) -> Iterator[str]:
    """An rsync daemon with the storage as a module that asks for a password; its URL."""
    port = free_port()
    secrets = lab.top / "secrets"
    secrets.write_text("agent:word\n")
    secrets.chmod(0o600)
    config = lab.top / "rsyncd.conf"
    config.write_text(
        f"use chroot = no\nlog file = {lab.top}/rsyncd.log\n[storage]\npath = {lab.storage}\nread only = no\n"
        f"uid = {os.getuid()}\ngid = {os.getgid()}\nauth users = agent\nsecrets file = {secrets}\n"
    )
    command = ["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={port}", f"--config={config}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as child:
        while subprocess.run(["rsync", f"rsync://127.0.0.1:{port}/"], capture_output=True, check=False).returncode:
            assert child.poll() is None
        yield f"rsync://agent@127.0.0.1:{port}/storage"
        child.terminate()


@pytest.mark.parametrize("word", ["word", "wrong"])
def test_a_daemon_takes_files_from_who_knows_its_password(agent_settings: Settings, lab: Lab, daemon: str, word: str) -> None:
    password = lab.top / "password"
    password.write_text(word)
    password.chmod(0o600)
    agent = make_agent(agent_settings.model_copy(update={"target": daemon, "password_file": password}))
    order(agent, lab, 1, lab.write("a.raw"), bruker(lab), local=(lab.write("l.txt"),))
    settle(agent)
    agent.loop.stop()
    if word == "word":
        assert job_state(1) == JobState.DELIVERED
        assert lab.is_marked(1)
        assert same(lab.source / "run 1.d", lab.data / "run 1.d")
    else:
        assert job_state(1) == JobState.FAILED
        assert "refuses the agent's key" in Job.get().message


def test_no_marker_is_written_without_its_manifest(agent: Agent, lab: Lab) -> None:
    order(agent, lab, 1, lab.write("a.raw"))
    # rsync puts a file into a folder of its name, and there it does not remove what is not empty.
    lab.in_job(1, ".cumulus.manifest/.cumulus.manifest/x").mkdir(parents=True)
    settle(agent)
    assert job_state(1) == JobState.FAILED
    assert not lab.is_marked(1)
