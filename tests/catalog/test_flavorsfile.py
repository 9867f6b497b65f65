"""Numbers in flavors.tsv are corrected, and all else stays as somebody wrote it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.catalog.flavors import read_flavors
from server.catalog.flavorsfile import rewrite
from server.errors import InvalidInput

TEXT = """\
# Sizes of the site\t(do not touch m2)

NAME\tWEIGHT\tCPU\tRAM\tDISK
m2\t7\t8\t32\t50\t# CPU and RAM as ordered
  m1\t\t3\t4\t16  # small
MAX_ACCUMULATED_WEIGHT = 70\t# n
# m1\t1\t1\t1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flavors.tsv"
    path.write_text(TEXT)
    return path


def test_only_the_numbers_that_are_given_change(file: Path) -> None:
    rewrite(file, {"m1": {"CPU": 6, "RAM": 24}, "m2": {"DISK": 80}})
    expected = TEXT.replace("m1\t\t3\t4\t16  #", "m1\t\t3\t6\t24  #").replace("\t50\t#", "\t80\t#")
    assert file.read_text() == expected
    assert list(file.parent.iterdir()) == [file]


def test_a_disk_that_a_line_lacks_is_added_before_its_comment(file: Path) -> None:
    rewrite(file, {"m1": {"DISK": 40}})
    assert file.read_text() == TEXT.replace("4\t16  #", "4\t16\t40  #")
    assert read_flavors(file)["m1"].disk_gb == 40


@pytest.mark.parametrize("text", ["\ufeff" + TEXT[TEXT.index("m2\t") :], TEXT.replace("\n", "\r\n"), TEXT.rstrip("\n")])
def test_marks_of_order_and_line_ends_stay(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    rewrite(file, {"m2": {"CPU": 9}})
    assert file.read_bytes() == text.replace("7\t8\t32", "7\t9\t32").encode()
    assert read_flavors(file)["m2"].cpus == 9


def test_a_link_and_the_permissions_stay(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.tsv"
    link.symlink_to(file)
    rewrite(link, {"m2": {"CPU": 9}})
    assert link.is_symlink()
    assert (file.stat().st_mode & 0o777, read_flavors(file)["m2"].cpus) == (0o640, 9)


def test_what_would_be_no_list_any_more_is_not_written(file: Path) -> None:
    with pytest.raises(InvalidInput):
        rewrite(file, {"m2": {"CPU": 0}})
    with pytest.raises(InvalidInput, match="cannot be written"):
        rewrite(file.with_name("none.tsv"), {})
    assert file.read_text() == TEXT
    assert list(file.parent.iterdir()) == [file]


@given(cpus=st.integers(1, 10**6), memory_gb=st.integers(1, 10**6), disk_gb=st.integers(1, 10**6))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, cpus: int, memory_gb: int, disk_gb: int) -> None:
    path = tmp_path_factory.mktemp("flavors") / "flavors.tsv"
    path.write_text(TEXT)
    before = read_flavors(path)
    rewrite(path, {"m1": {"CPU": cpus, "RAM": memory_gb, "DISK": disk_gb}})
    after = read_flavors(path)
    m1 = after["m1"]
    assert (m1.cpus, m1.memory_gb, m1.disk_gb, m1.weight) == (cpus, memory_gb, disk_gb, before["m1"].weight)
    assert (after["m2"], after.max_weight, list(after)) == (before["m2"], before.max_weight, list(before))
