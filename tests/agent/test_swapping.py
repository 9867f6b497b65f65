"""What is sent is what was opened below a root, whatever is put under its path meanwhile: the agent's key lies outside.

Each kind of exchange runs in a loop of its own thread, between what may be sent and a link to what may not, while jobs are sent.
"""

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agent.queue.models import Event
from agent.queue.states import TransferState
from agent.sending.staging import hold, staged
from agent.serve import make_agent
from agent.settings import Settings
from agent.sources.survey import SourceAway, SourceUnusable
from tests.agent.conftest import Lab, order, settle

pytestmark = [pytest.mark.system, pytest.mark.skipif(sys.platform != "linux", reason="needs openat() and /proc")]

SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----"
TRIES = 500
KINDS = ["file", "file in a folder", "folder", "folder in a folder", "parent", "parent of a parent"]


def lay_out(lab: Lab, kind: str) -> tuple[Path, Path]:
    """What is ordered, and the place that is exchanged: with a link to a tree of the same names, full of the secret."""
    for top, text in ((lab.source, b"spectra"), (lab.top / "secret", SECRET)):
        for name in ("way/on/a.raw", "way/on/x.d/inner.bin", "way/on/x.d/sub/deep.bin"):
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
            os.utime(path, (1, 1))
    on = lab.source / "way" / "on"
    places = {
        "file": (on / "a.raw", on / "a.raw"),
        "file in a folder": (on / "x.d", on / "x.d" / "inner.bin"),
        "folder": (on / "x.d", on / "x.d"),
        "folder in a folder": (on / "x.d", on / "x.d" / "sub"),
        "parent": (on / "a.raw", on),
        "parent of a parent": (on / "x.d", lab.source / "way"),
    }
    return places[kind]


@contextmanager
def exchanging(lab: Lab, place: Path, longest: float) -> Iterator[None]:
    """A place that is sometimes (seconds at most) what it was and sometimes a link, at moments that nobody foresees."""
    link, kept, over = place.with_name("link"), place.with_name("kept"), threading.Event()
    link.symlink_to(lab.top / "secret" / place.relative_to(lab.source))
    pause = random.Random(1)

    def exchange() -> None:
        while not over.is_set():
            place.rename(kept)
            link.rename(place)
            over.wait(pause.choice((0, 0.0005, 0.001)))
            place.rename(link)
            kept.rename(place)
            over.wait(pause.choice((0, 0.001, longest)))

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def secrets_in(folder: Path) -> list[Path]:
    """Files of a folder that have the secret in them, also half ones and those without a name of their own."""
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and SECRET in path.read_bytes():
                found.append(path)
    return found


def tries() -> int:
    """How often sending began."""
    return int(Event.select().where(Event.subject == "transfer", Event.new == TransferState.SENDING).count())


@pytest.mark.parametrize("kind", KINDS)
def test_no_exchange_carries_anything_from_outside_the_roots(agent_settings: Settings, lab: Lab, kind: str) -> None:
    wanted, place = lay_out(lab, kind)
    agent = make_agent(agent_settings.model_copy(update={"stable_s": 0.0, "parallel": 2, "survey_interval_s": 0.01}))
    with exchanging(lab, place, 0.1):
        for number in range(1, 41):
            order(agent, lab, number, local=(str(wanted),))
        settle(agent, lambda: tries() >= 40, limit_s=120)
    agent.loop.stop()
    assert secrets_in(lab.storage) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_held_is_what_was_opened(agent_settings: Settings, lab: Lab, kind: str) -> None:
    """What rsync would read, read in its stead, some hundred times."""
    wanted, place = lay_out(lab, kind)
    held, tried, seen = 0, 0, set()
    with exchanging(lab, place, 0.01):
        while tried < TRIES or held < TRIES // 10:
            tried += 1
            try:
                source = hold(str(wanted), wanted.name, agent_settings.places())
            except (SourceUnusable, SourceAway):
                continue
            with staged(agent_settings.home, [source]) as load:
                assert load.follow
                held += 1
                seen |= {path.read_bytes() for path in Path(load.folder).rglob("*") if path.is_file()}
            source.close()
    assert seen == {b"spectra"}


@pytest.mark.parametrize("exchange", ["link", "file", "written", "truncated"])
def test_a_source_that_is_exchanged_while_it_is_held_is_read_as_it_was_opened(
    agent_settings: Settings, lab: Lab, exchange: str
) -> None:
    raw = Path(lab.write("a.raw", "spectra"))
    source = hold(str(raw), "a.raw", agent_settings.places())
    changes: dict[str, Callable[[], object]] = {
        "link": lambda: (raw.rename(raw.with_name("b.raw")), os.symlink("/etc/passwd", raw)),
        "file": lambda: raw.rename(raw.with_name("b.raw")) and raw.write_text("another"),
        "written": lambda: raw.write_text("SPECTRA"),
        "truncated": lambda: os.truncate(raw, 0),
    }
    changes[exchange]()
    with staged(agent_settings.home, [source]) as load:
        read = (Path(load.folder) / "a.raw").read_text()
    assert read == {"written": "SPECTRA", "truncated": ""}.get(exchange, "spectra")
    if exchange in ("written", "truncated"):
        assert not source.is_unchanged()
    source.close()
