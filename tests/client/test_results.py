"""A result that comes in pieces: over connections that break, and of a file that may be another one meanwhile."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cumulus_client.errors import Unreachable
from cumulus_client.jobs import ResultFile
from cumulus_client.results import TRIES, Results
from server.cli.shared.copying import Copier, chosen
from server.errors import InvalidInput
from server.progress import unheard

CONTENT = bytes(range(100))


class Breaking:
    """A controller whose connections give so many bytes each; then they break. ``tag``: of the content that it has."""

    def __init__(self, content: bytes, *rooms: int, tag: str = "t") -> None:
        self.content = content
        self.rooms = list(rooms)
        self.tag = tag
        self.starts: list[int] = []

    def call(self, *_: object) -> Any:
        raise AssertionError

    @contextmanager
    def download(self, _operation: object, _request: object, start: int = 0, tag: str = "") -> Iterator["Part"]:
        first = start if not tag or tag == self.tag else 0
        self.starts.append(first)
        yield Part(self.content, first, self.rooms.pop(0) if self.rooms else len(self.content))


class Part:
    def __init__(self, content: bytes, start: int, room: int) -> None:
        self.start = start
        self.size = len(content) - start
        self._content, self._room = content, room

    def parts(self) -> Iterator[bytes]:
        yield self._content[self.start : self.start + self._room]
        if self.start + self._room < len(self._content):
            raise Unreachable("the connection broke")


def file(name: str = "a.txt", tag: str = "t", size: int = len(CONTENT)) -> ResultFile:
    return ResultFile(path=name, size=size, url=name, tag=tag)


def test_a_file_is_continued_where_its_connection_broke() -> None:
    source, target = Breaking(CONTENT, 30, 0, 50, 1), io.BytesIO()
    heard: list[int] = []
    Results(source).fetch(1, file(), target, heard.append)
    assert (target.getvalue(), source.starts, sum(heard)) == (CONTENT, [0, 30, 30, 80, 81], len(CONTENT))


def test_a_connection_that_never_gives_a_byte_is_given_up() -> None:
    source, target = Breaking(CONTENT, 7, *[0] * 50), io.BytesIO()
    with pytest.raises(Unreachable):
        Results(source).fetch(1, file(), target)
    assert (target.getvalue(), len(source.starts)) == (CONTENT[:7], TRIES + 1)


def test_a_file_that_is_another_now_comes_from_its_first_byte_on(tmp_path: Path) -> None:
    source = Breaking(b"another content", tag="new")
    target = io.BytesIO(CONTENT[:50])
    Results(source).fetch(1, file(), target)
    assert (target.getvalue(), source.starts) == (b"another content", [0])


def test_the_next_command_continues_what_is_there_of_the_same_content_alone(tmp_path: Path) -> None:
    broken = Copier(Results(Breaking(CONTENT, 40, *[0] * TRIES)), 1, tmp_path)
    with pytest.raises(Unreachable):
        broken.copy(file(), unheard)
    (part,) = tmp_path.iterdir()
    assert part.read_bytes() == CONTENT[:40]
    other = Breaking(b"x" * 100, tag="u")
    Copier(Results(other), 1, tmp_path / "elsewhere").copy(file(tag="u"), unheard)
    assert other.starts == [0]
    source = Breaking(CONTENT)
    made = Copier(Results(source), 1, tmp_path).copy(file(), unheard)
    assert (made.read_bytes(), source.starts) == (CONTENT, [40])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "elsewhere"]


def test_what_has_come_of_a_former_content_is_not_continued_and_goes(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        Copier(Results(Breaking(CONTENT, 40, *[0] * TRIES)), 1, tmp_path).copy(file(), unheard)
    source = Breaking(b"x" * 100, tag="new")
    Copier(Results(source), 1, tmp_path).copy(file(tag="new"), unheard)
    assert source.starts == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"x" * 100


@pytest.mark.parametrize("name", ["../a.txt", "/etc/a.txt", "b/../../a.txt", ".", "b//a.txt"])
def test_no_name_that_a_server_gives_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="no path below a folder"):
        Copier(Results(Breaking(CONTENT)), 1, tmp_path / "r").copy(file(name), unheard)
    assert list(tmp_path.rglob("*.txt")) == []


def test_one_file_is_copied_by_one_command_at_a_time(tmp_path: Path) -> None:
    class Meeting(Breaking):
        def download(self, *_: Any) -> Any:
            with pytest.raises(InvalidInput, match="another command is copying it"):
                Copier(Results(Breaking(CONTENT)), 1, tmp_path).copy(file(), unheard)
            return super().download(*_)

    assert Copier(Results(Meeting(CONTENT)), 1, tmp_path).copy(file(), unheard).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("included", "excluded", "names"),
    [
        ([], [], ["a.tsv", "b.txt", "s/c.tsv"]),
        (["*.tsv"], [], ["a.tsv", "s/c.tsv"]),
        (["s/*"], [], ["s/c.tsv"]),
        (["*.tsv", "*.txt"], ["c.*"], ["a.tsv", "b.txt"]),
        (["A.tsv"], [], []),
        (["[ab].*"], [], ["a.tsv", "b.txt"]),
    ],
)
def test_globs_choose_files(included: list[str], excluded: list[str], names: list[str]) -> None:
    found = chosen(map(file, ("a.tsv", "b.txt", "s/c.tsv")), included, excluded)
    assert [one.path for one in found] == names
