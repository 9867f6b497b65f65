"""Whole lives under random faults; the promises hold for every one of them."""

import os
from pathlib import Path

import pytest

from tests.faults.figures import record
from tests.faults.storm import Storm, lab_for

SHORT, LONG = 30, 1000

pytestmark = [pytest.mark.system, pytest.mark.timeout(7200)]


def rage(root: Path, number: int, seed: int, *, erasing: bool) -> None:
    lab = lab_for(root)
    storm = Storm(lab, number, seed, erasing)
    try:
        storm.rage()
        record("storm", str(seed), **storm.figures())
        lab.stop()
    except BaseException:
        print(lab.log())
        lab.kill()
        raise
    finally:
        if not os.environ.get("KEEP"):
            lab.end()


@pytest.mark.parametrize("seed", [1, 2])
def test_no_job_is_lost_no_machine_leaked_and_nothing_run_twice(tmp_path: Path, seed: int) -> None:
    rage(tmp_path / "lab", SHORT, seed, erasing=False)


@pytest.mark.long
@pytest.mark.parametrize("seed", [11, 12])
def test_nor_in_a_long_storm_in_which_the_database_is_erased_too(tmp_path: Path, seed: int) -> None:
    rage(tmp_path / "lab", LONG // 2, seed, erasing=True)
