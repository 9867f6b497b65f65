from pathlib import Path

import pytest

from server.catalog.flavors import Flavor, read_flavors
from server.errors import InvalidInput
from server.settings import CHECKOUT

GOOD = "NAME\tWEIGHT\tCPU\tRAM\nsmall\t1\t1\t2\nlarge\t2\t4\t8\t100\nMAX_ACCUMULATED_WEIGHT = 3\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "flavors.tsv"


def test_flavors_keep_the_order_of_their_file(file: Path) -> None:
    file.write_text(GOOD)
    flavors = read_flavors(file)
    assert list(flavors) == ["small", "large"]
    assert flavors["large"] == Flavor("large", weight=2, cpus=4, memory_gb=8, disk_gb=100)
    assert flavors["small"].disk_gb is None
    assert flavors.max_weight == 3
    assert flavors.get("huge") is None


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        "# comment\n\n" + GOOD.replace("\t1\n", "\t1  # comment\n"),
        GOOD.replace("NAME\tWEIGHT\tCPU\tRAM\n", ""),
        GOOD.replace("NAME\tWEIGHT\tCPU\tRAM\n", "name\tweight\tcpu\tram\tdisk\n"),
        GOOD.replace(" = 3", "=3"),
        "MAX_ACCUMULATED_WEIGHT = 3\n" + GOOD.replace("MAX_ACCUMULATED_WEIGHT = 3\n", ""),
        GOOD.replace("small\t1", "small\t\t1"),
    ],
)
def test_what_people_write_otherwise_is_understood(file: Path, text: str) -> None:
    file.write_text(text)
    assert list(read_flavors(file)) == ["small", "large"]


def test_a_flavor_heavier_than_the_maximum_may_wait_for_a_greater_one(file: Path) -> None:
    file.write_text(GOOD.replace("large\t2", "large\t9"))
    assert read_flavors(file)["large"].weight == 9


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 0, "MAX_ACCUMULATED_WEIGHT = n` is missing"),
        ("small\t1\t1\t2\n", 0, "is missing"),
        ("MAX_ACCUMULATED_WEIGHT = 3\n", 0, "there is no flavor"),
        (GOOD + "MAX_ACCUMULATED_WEIGHT = 4\n", 5, "twice"),
        (GOOD.replace("= 3", "= many"), 4, "'many'"),
        (GOOD.replace("= 3", "= 0"), 4, "'0'"),
        (GOOD.replace("= 3", "= -1"), 4, "'-1'"),
        (GOOD.replace("= 3", "="), 4, "''"),
        (GOOD.replace("= 3", "= 0x10"), 4, "0x10"),
        (GOOD + "small\t1\t1\t1\n", 5, "small is given twice"),
        (GOOD.replace("small\t1\t", "small\t1.5\t"), 2, "WEIGHT is '1.5'"),
        (GOOD.replace("small\t1\t", "small\t0\t"), 2, "WEIGHT is '0'"),
        (GOOD.replace("small\t1\t", "small\t-1\t"), 2, "WEIGHT is '-1'"),
        (GOOD.replace("small\t1\t1\t", "small\t1\tone\t"), 2, "CPU is 'one'"),
        (GOOD.replace("small\t1\t1\t2", "small\t1\t1\t0"), 2, "RAM is '0'"),
        (GOOD.replace("\t100\n", "\t0\n"), 3, "DISK is '0'"),
        (GOOD.replace("small\t1\t", "small\t99999999\t"), 2, "99999999"),
        (GOOD.replace("small\t1\t", "small\t١\t"), 2, "WEIGHT"),
        (GOOD + "tiny\t1\t1\n", 5, "found 3 columns"),
        (GOOD + "tiny\t1\t1\t1\t1\t1\n", 5, "found 6 columns"),
        (GOOD + "tiny 1 1 1\n", 5, "separated by tabs"),
        (GOOD + "<b>\t1\t1\t1\n", 5, "characters other than"),
        (GOOD + "a/b\t1\t1\t1\n", 5, "characters other than"),
        (GOOD.replace("= 3", "= 1").replace("small\t1", "small\t2"), 0, "every flavor is heavier"),
    ],
)
def test_a_broken_file_is_refused_with_its_line_and_reason(file: Path, text: str, line: int, reason: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidInput) as refusal:
        read_flavors(file)
    assert refusal.value.message.startswith(f"{file}:{line}: " if line else f"{file}: ")
    assert reason in refusal.value.message


def test_a_file_that_cannot_be_read_is_refused(file: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_flavors(file)
    file.write_bytes(b"\xff\xfe\x00small")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        read_flavors(file)
    file.write_bytes(b"#" * 2_000_000)
    with pytest.raises(InvalidInput, match="larger than the 1000000 bytes"):
        read_flavors(file)


@pytest.mark.parametrize("path", ["flavors.tsv", "examples/scigne/flavors.tsv"])
def test_the_files_that_come_with_cumulus_have_what_the_desktop_client_waits_for(path: str) -> None:
    assert "m1.4xlarge" in read_flavors(CHECKOUT / path)
