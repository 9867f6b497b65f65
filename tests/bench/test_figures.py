"""The arithmetic of the measurements, and the plot: what they make of figures is right whatever the computer."""

from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from tests.bench import demo
from tests.bench.growth import Growth, bucket_quantile
from tests.bench.jobs import OWN_PATH, Measured, path, side_by_side
from tests.bench.lives import END, GONE, LINE, MACHINE, SSH, BaselineLives
from tests.bench.measuring import quantile, write
from tests.bench.plot import draw

FLOOR = {MACHINE: 1.0, SSH: 2.0, LINE: 3.0, END: 4.0, GONE: 4.1}
OWN = dict(zip(OWN_PATH, (0.1, 0.2, 0.3, 1.3, 4.5, 5.5, 6.0, 6.1, 8.2), strict=True))


def measured() -> Measured:
    found = Measured()
    for number in (1, 4):
        found.figures("floor", number).add_all(FLOOR)
        found.figures("Cumulus", number).add_all(OWN)
    return found


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 3), (0.9, 4.6), (1, 5)])
def test_a_quantile_lies_between_its_neighbours(share: float, value: float) -> None:
    assert quantile([5, 1, 4, 2, 3], share) == pytest.approx(value)


def test_a_quantile_of_a_histogram_is_interpolated_as_prometheus_does() -> None:
    counts = {0.01: 50.0, 0.05: 90.0, 0.1: 100.0, float("inf"): 100.0}
    assert bucket_quantile(counts, 0.5) == pytest.approx(0.01)
    assert bucket_quantile(counts, 0.7) == pytest.approx(0.03)
    assert bucket_quantile(counts, 0.99) == pytest.approx(0.095)
    assert bucket_quantile(counts | {float("inf"): 1000.0}, 0.99) == 0.1


def test_memory_s_slope_counts_once_the_caches_are_full() -> None:
    filling, flat = [(lives, 50.0 + lives) for lives in range(20)], [(lives, 80.0 + lives / 1000) for lives in range(20, 101)]
    assert Growth(lives=100, memory=[*filling, *flat]).mb_per_1000 == pytest.approx(1)


def test_floor_and_cumulus_stand_side_by_side_with_the_ratio_of_their_medians() -> None:
    table = side_by_side(measured(), 4)
    assert "| → the app's first line | 3.00 / 3.00 | 4.50 / 4.50 | 1.50 | ≤ 1.5 |" in table
    assert "| → the machine is gone (whole life) | 4.10 / 4.10 | 8.20 / 8.20 | 2.00 | ≤ 1.3 |" in table


def test_another_server_s_steps_that_rest_does_not_show_are_said_to_be_so() -> None:
    found = measured()
    found.figures("baseline", 1).add_all({LINE: 45.0, END: 75.0})
    table = side_by_side(found, 1)
    assert "| → the app's first line | 3.00 / 3.00 | 4.50 / 4.50 | 1.50 | ≤ 1.5 | 45.00 / 45.00 | 10.0 |" in table
    assert "| → the machine is gone (whole life) | 4.10 / 4.10 | 8.20 / 8.20 | 2.00 | ≤ 1.3 | not shown | – |" in table


def test_the_steps_of_a_life_add_up_to_it() -> None:
    rows = [line.split("|")[1:-1] for line in path(measured())[2:]]
    assert sum(float(cells[2]) for cells in rows) == pytest.approx(OWN[GONE])
    assert sum(float(cells[1]) for cells in rows if cells[1].strip() != "–") == pytest.approx(FLOOR[GONE])


def test_another_server_is_measured_only_where_one_is_named() -> None:
    assert BaselineLives.of_environment({}) is None
    named = BaselineLives.of_environment({"BASELINE_URL": "http://127.0.0.1:1/", "BASELINE_STORAGE": "/srv"})
    assert named is not None
    assert (named.client.url, named.storage, named.flavor) == ("http://127.0.0.1:1", Path("/srv"), "m1.4xlarge")


def test_a_report_replaces_its_own_part_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n<!-- begin -->\n<!-- end -->\n")
    write("x", ["new"], page)
    write("", ["alone"], page)
    assert page.read_text() == "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n<!-- begin -->\nalone\n<!-- end -->\n"
    with pytest.raises(ValueError, match="no place for y"):
        write("y", [], page)


def test_the_plot_has_a_bar_for_each_column_as_long_as_its_life() -> None:
    lives = {name: {step: [value] for step, value in steps.items()} for name, steps in (("floor 1", FLOOR), ("Cumulus 1", OWN))}
    drawn = draw({"jobs": {"lives": lives}, "growth": {"memory": [[0, 80.0], [50, 90.0], [100, 91.0]]}})
    svg = Xml.fromstring(drawn)
    words = [element.text for element in svg.findall(".//{*}text")]
    assert {"floor, 1 at once", "Cumulus, 1 at once", "4.1 s", "8.2 s", "100", "80 MB"} <= set(words)
    widths = [float(element.get("width", "0")) for element in svg.findall(".//{*}rect")][5:]
    floor, own = sum(widths[:4]), sum(widths[4:])
    assert own / floor == pytest.approx(OWN[GONE] / FLOOR[GONE], rel=0.01)


def test_without_results_nothing_is_drawn() -> None:
    assert draw({}) == ""


def test_the_steps_of_a_demonstration_are_read_from_what_it_prints() -> None:
    printed = """\
Unpacking …
Unpacking: 15 s, 118 of 296 packages, Unpacking tzdata
Unpacking: 34 s (298 packages)
Removing the machine: 0 s
comet_2019.015: Comet version "2019.01 rev. 5"
Job 1: 2 min 5 s
"""
    assert demo.steps_of(printed) == [("Unpacking", 34, "298 packages"), ("Job 1", 125, "")]
    lines = demo.table(109.0, 16.4, demo.steps_of(printed))
    assert "| Unpacking (298 packages) | 34 s | – |" in lines
    assert lines[-1] == "| **second `make demo`** | **16 s** | ≤ 20 s |"
