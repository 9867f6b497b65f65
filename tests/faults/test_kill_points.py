"""A controller that is killed with signal 9 at every change of both state machines, just before its commit and just after it."""

from pathlib import Path

import pytest

from tests.faults.figures import record
from tests.faults.lab import Lab
from tests.faults.points import Change, Point, changes, points
from tests.faults.promises import check, history
from tests.faults.scenarios import SCENARIOS

FIRST: dict[Change, str] = {}
for _name, _scenario in SCENARIOS.items():
    for _change in _scenario.covers:
        FIRST.setdefault(_change, _name)

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lab"


def played(name: str, root: Path, *to_die_at: str) -> Lab:
    scenario = SCENARIOS[name]
    lab = Lab(root, scenario.limit, dict(scenario.given), to_die_at=[*scenario.dies_at, *to_die_at])
    try:
        lab.start()
        scenario.play(lab)
        lab.settle()
        check(lab)
        lab.stop()
    except BaseException:
        print(lab.log())
        lab.end()
        raise
    return lab


def test_every_change_has_a_scenario() -> None:
    assert set(FIRST) == changes()


@pytest.mark.long
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_does_what_it_is_there_for(root: Path, name: str) -> None:
    lab = played(name, root)
    assert set(SCENARIOS[name].covers) <= history(lab)
    lab.end()


@pytest.mark.parametrize(
    "point",
    [pytest.param(point, marks=[] if point.when == "after" else [pytest.mark.long]) for point in points(changes())],
    ids=str,
)
def test_nothing_is_lost_where_the_controller_is_killed(root: Path, point: Point) -> None:
    lab = played(FIRST[point.change], root, str(point))
    assert lab.kills > len(SCENARIOS[FIRST[point.change]].dies_at), f"the controller was never at {point}"
    record("kill", str(point).replace(">", "-"), point=str(point))
    lab.end()
