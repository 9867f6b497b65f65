"""Unpacking Debian: what mmdebstrap says becomes progress, or a message that names what to do. Mirrors here are empty or gone."""

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from server.errors import InfrastructureError
from server.progress import Step
from server.workers.clouds.qemu.images.packages import ARCHIVES, PackageCache
from server.workers.clouds.qemu.images.unpack import Debian, PackagesUnavailable, host_proxies

needs_mmdebstrap = pytest.mark.skipif(
    shutil.which("mmdebstrap") is None or os.geteuid() != 0, reason="a root folder is made by root with mmdebstrap"
)
# As apt and dpkg say it (mmdebstrap 1.3.5, apt 2.6).
OUTPUT = """\
Unpacking usr-is-merged (1) ...
Setting up usr-is-merged (1) ...
0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://deb.debian.org/debian bookworm/main amd64 libc6 amd64 2.36-9 [2758 kB]
Unpacking libc6:amd64 (2.36-9) ...
Setting up libc6:amd64 (2.36-9) ...
1 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.
I: installing remaining packages inside the chroot...
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Unpacking topp (2.6.0) ...
"""


@dataclass
class Told:
    """A step that remembers what it was told."""

    counts: list[tuple[float, float | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def advance(self, done: float, total: float | None = None) -> None:
        self.counts.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass(frozen=True)
class Scripted(Debian):
    """Runs a shell script where mmdebstrap would be run; ``$0`` is the root folder."""

    script: str = "true"

    def _command(self, root: Path) -> list[str]:
        return ["sh", "-c", self.script, str(root)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def debian(tmp_path: Path, mirror: str = "", suite: str = "bookworm") -> Debian:
    return Debian(suite, mirror, ("hello",), PackageCache(tmp_path / "cache"))


def scripted(tmp_path: Path, script: str) -> Scripted:
    return Scripted("bookworm", "", ("hello",), PackageCache(tmp_path / "cache"), script=script)


def failure(made: Debian, root: Path, step: Step | None = None) -> InfrastructureError:
    with pytest.raises(InfrastructureError) as raised:
        made.unpack(root, root.parent / "log", step or Told())
    return raised.value


@pytest.fixture
def empty_mirror(tmp_path: Path) -> Iterator[str]:
    """A web server without any Debian."""
    (tmp_path / "web").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "web"))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/debian"
        server.shutdown()


def test_packages_are_counted_and_the_total_is_given_once_it_is_known(tmp_path: Path, root: Path) -> None:
    (tmp_path / "output").write_text(OUTPUT)
    told = Told()
    scripted(tmp_path, f"cat {tmp_path}/output").unpack(root, tmp_path / "log", told)
    assert told.counts == [(0.5, None), (1.0, None), (1.5, None), (2.0, None), (2.5, 3)]
    assert told.notes[2:4] == ["downloading libc6", "Unpacking libc6:amd64"]
    assert (tmp_path / "log").read_text() == OUTPUT


@needs_mmdebstrap
def test_a_mirror_that_does_not_answer_is_named(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = failure(debian(tmp_path, "http://127.0.0.1:1/debian"), root)
    assert isinstance(found, PackagesUnavailable)
    assert found.message.startswith("the package mirror http://127.0.0.1:1/debian does not answer: look at the network")
    assert "Connection refused" in found.message


@needs_mmdebstrap
def test_a_mirror_without_that_release_is_named(
    tmp_path: Path, root: Path, empty_mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = failure(debian(tmp_path, empty_mirror, "nosuch"), root)
    assert found.message.startswith(f"the package mirror {empty_mirror} does not have Debian nosuch: look at debian_suite")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("E: Unable to locate package my-app", "Debian bookworm on http://deb.debian.org/debian has no package my-app"),
        ("E: Package 'my-app' has no installation candidate", "has no package my-app: look at template_variables"),
        ("E: The repository 'x bookworm InRelease' is not signed.", "cannot be checked: apt-get install debian-archive-keyring"),
        ("E: Failed to fetch http://x/InRelease  Could not resolve 'x'", "does not answer"),
        ("dpkg-deb: error: unexpected end of file in archive", "mmdebstrap failed: dpkg-deb: error: unexpected end of file"),
        ("W: Failed to fetch http://x/InRelease  Could not resolve 'x'", "failed (exit code 25)"),
    ],
)
def test_what_went_wrong_is_said_in_words(tmp_path: Path, root: Path, said: str, told: str) -> None:
    message = failure(scripted(tmp_path, f'echo "{said}"; echo last; exit 25'), root).message
    assert told in message
    assert message.endswith(f"(all of it: {tmp_path}/log)")


def test_a_damaged_package_of_the_cache_is_downloaded_anew(tmp_path: Path, root: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "a_1_all.deb").write_text("damaged")
    script = f"""
        cd "$0/{ARCHIVES}" 2>/dev/null || {{ mkdir -p "$0/{ARCHIVES}"; cd "$0/{ARCHIVES}"; }}
        ! grep -qs damaged a_1_all.deb || {{ echo 'dpkg-deb: error: lzma error'; exit 25; }}
        ! [ -e ../../../half ] || exit 26
        echo whole > a_1_all.deb
    """
    scripted(tmp_path, script).unpack(root, tmp_path / "log", Told())
    assert (tmp_path / "cache" / "a_1_all.deb").read_text() == "whole\n"


def test_without_a_cache_a_failure_is_not_tried_again(tmp_path: Path, root: Path) -> None:
    failure(scripted(tmp_path, 'echo once >> "$0/../tries"; exit 25'), root)
    assert (tmp_path / "tries").read_text() == "once\n"


def test_what_was_downloaded_stays_where_the_mirror_goes_away(tmp_path: Path, root: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "a_1_all.deb").write_text("a")
    script = f'echo b > $0/{ARCHIVES}/b_1_all.deb; echo "E: Failed to fetch x  Could not connect"; exit 25'
    failure(scripted(tmp_path, script), root)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["a_1_all.deb", "b_1_all.deb"]


def test_the_initial_ram_disk_is_not_made_on_the_way_and_temporary_files_go_with_the_build(tmp_path: Path, root: Path) -> None:
    scripted(tmp_path, 'echo "$INITRD $TMPDIR"').unpack(root, tmp_path / "log", Told())
    assert (tmp_path / "log").read_text() == f"No {tmp_path}\n"


def test_the_proxy_of_this_computers_apt_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apt.conf").write_text('Acquire::http::Proxy "http://proxy.example:3142";\nAcquire::https::Proxy "DIRECT";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    assert host_proxies({}) == {"http_proxy": "http://proxy.example:3142"}
    assert host_proxies({"http_proxy": "http://other:1"}) == {}


def test_the_roles_proxy_goes_before_all_others(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://environment:1")
    made = Scripted("bookworm", "", (), PackageCache(tmp_path / "cache"), "http://role:2", 'echo "$http_proxy"')
    made.unpack(root, tmp_path / "log", Told())
    assert (tmp_path / "log").read_text() == "http://role:2\n"
