"""What two records have different, and whether the same came out."""

from typing import Any

import pytest

from server.engine.records.record import (
    JobRecord,
    RecordedApp,
    RecordedController,
    RecordedConversion,
    RecordedFlavor,
    RecordedInput,
    RecordedResult,
)
from server.services.records.comparison import compare_results, differences

BEFORE = JobRecord(
    id=1,
    owner="ada",
    app=RecordedApp(id="comet_1", sha256="1" * 64),
    program="Comet 1",
    controller=RecordedController(version="2.3.0"),
    cloud="qemu",
    snapshot="3",
    flavor=RecordedFlavor(name="m1", cpus=4, memory_gb=8),
    settings={"a": "1", "b": ["x"]},
    inputs=(RecordedInput(name="a.raw", sha256="a" * 64), RecordedInput(name="b.raw")),
    conversions=(RecordedConversion(source="a.raw", target="a.mzML", command="conv", version="conv 1"),),
    created=1.0,
)


def told(**changes: Any) -> list[str]:
    return list(map(str, differences(BEFORE, BEFORE.model_copy(update=changes))))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"app": RecordedApp(id="comet_1", sha256="2" * 64)}, ["XML of the app: 111111111111 → 222222222222"]),
        ({"app": RecordedApp(id="comet_2", sha256="1" * 64)}, ["app: comet_1 → comet_2"]),
        ({"program": "Comet 2"}, ["program: Comet 1 → Comet 2"]),
        ({"snapshot": "4"}, ["snapshot: 3 → 4"]),
        ({"cloud": "openstack"}, ["cloud: qemu → openstack"]),
        ({"controller": RecordedController(version="2.4.0")}, ["Cumulus: 2.3.0 → 2.4.0"]),
        (
            {"flavor": RecordedFlavor(name="m1", cpus=8, memory_gb=8)},
            ["machine size: m1 (4 CPUs, 8 GB) → m1 (8 CPUs, 8 GB)"],
        ),
        ({"settings": {"a": "1"}}, ['setting b: ["x"] → none']),
        ({"settings": {"a": "2", "b": ["x"], "c": ""}}, ['setting a: "1" → "2"', 'setting c: none → ""']),
        (
            {"inputs": (RecordedInput(name="a.raw", sha256="b" * 64), BEFORE.inputs[1])},
            ["content of a.raw: aaaaaaaaaaaa → bbbbbbbbbbbb"],
        ),
        ({"inputs": BEFORE.inputs[:1]}, ["input b.raw: read → none"]),
        ({"inputs": (*BEFORE.inputs, RecordedInput(name="a.mzML", origin="converted"))}, []),
        (
            {"conversions": (RecordedConversion(source="a.raw", target="a.mzML", command="conv", version="conv 2"),)},
            ["converter of a.raw: conv 1 → conv 2"],
        ),
        ({"program": "", "snapshot": "", "conversions": ()}, []),
        ({"id": 2, "owner": "eve", "created": 5.0}, []),
    ],
)
def test_each_difference_is_told_and_of_what_is_not_known_nothing(changes: dict[str, Any], words: list[str]) -> None:
    assert told(**changes) == words


def results(**files: tuple[int, str]) -> list[RecordedResult]:
    return [RecordedResult(path=path, size=size, sha256=sha256) for path, (size, sha256) in files.items()]


@pytest.mark.parametrize(
    ("now", "verdict", "words"),
    [
        ({"a": (1, "x"), "b": (2, "y")}, "same", "the results are the same (2 files)"),
        ({"a": (1, "x"), "b": (2, "z")}, "different", "of the results, 1 differ (b); 1 are the same"),
        ({"a": (1, "x"), "b": (3, "")}, "different", "of the results, 1 differ (b); 1 are the same"),
        ({"a": (1, "x")}, "different", "of the results, 1 are missing (b); 1 are the same"),
        ({"a": (1, "x"), "b": (2, "y"), "c": (1, "")}, "different", "of the results, 1 are new (c); 2 are the same"),
        ({"a": (1, "x"), "b": (2, "")}, "unknown", "of the results, 1 cannot be compared (b); 1 are the same"),
        ({}, "different", "of the results, 2 are missing (a, b)"),
    ],
)
def test_results_are_the_same_only_where_every_checksum_says_so(
    now: dict[str, tuple[int, str]], verdict: str, words: str
) -> None:
    found = compare_results(results(a=(1, "x"), b=(2, "y")), results(**now))
    assert (found.verdict, str(found)) == (verdict, words)


def test_two_runs_without_results_are_the_same() -> None:
    assert str(compare_results([], [])) == "neither run has left results"


def test_a_long_list_is_cut() -> None:
    many = results(**{f"f{number:03}": (1, "x") for number in range(100)})
    assert str(compare_results(many, [])).endswith("f019 and 80 more)")
