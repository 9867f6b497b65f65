"""What the fault suite has proved in its last run: one small JSON file a test, and the table in docs/reliability.md made of them.

A test writes its figures after it has checked the promises, so what is counted here has kept them.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from server.settings import CHECKOUT
from tests.bench.measuring import computer, write
from tests.faults.points import changes, points

FIGURES = CHECKOUT / "var" / "faults"
PAGE = CHECKOUT / "docs" / "reliability.md"
LIFECYCLES, ADOPTION_S = 1000, 5.0
STRIKES = {
    "kill controller": "controller killed with signal 9, at any moment",
    "end controller in order": "controller ended in order and started again",
    "kill machine": "machine gone with all that ran on it",
    "kill runner": "runner and app killed, the machine still there",
    "kill tool": "terraform or ansible killed",
    "cancel": "job cancelled by its owner",
    "erase": "controller killed and database erased",
}


def record(kind: str, name: str, **values: object) -> None:
    """Keep what a test has found; a test that is run again replaces it."""
    folder = FIGURES / kind
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{name}"
    beside.write_text(json.dumps(values, indent=1) + "\n")
    beside.rename(folder / f"{name}.json")


def forget() -> None:
    """Begin a run: what an earlier one found is not this one's."""
    shutil.rmtree(FIGURES, ignore_errors=True)


def report(ok: bool, run: str = "`make faults`") -> None:
    """Write the table. ``ok``: whether every test of the run has passed; said in the page where not. ``run``: what it was."""
    lines = [f"{computer()}. By {run}.", ""]
    if not ok:
        lines += ["**Some tests of this run failed: the figures below are not the whole truth.**", ""]
    write("", [*lines, *_table(), "", *_strikes()], PAGE)
    report_accidents()


def report_accidents() -> None:
    """Write the table of accidents alone: what each was, how many jobs lived through it, how often their apps ran."""
    rows = [f"| {one['what']} | {one['jobs']} | {one['runs']} | 0 | 0 | 0 |" for one in _read("accident")]
    head = ["| accident | jobs | runs of their apps | lost | run twice | left |", "|---|---|---|---|---|---|"]
    write("accidents", [f"{computer()}.", "", *head, *rows], PAGE)


def _table() -> list[str]:
    storms, kills = list(_read("storm")), list(_read("kill"))
    lives = sum(one["lifecycles"] for one in storms)
    model = sum(one["examples"] for one in _read("model"))
    rows = [
        ("lives of jobs under random faults", f"{lives:,}", f"≥ {LIFECYCLES:,}"),
        ("attempts that these lives took", f"{sum(one['attempts'] for one in storms):,}", "–"),
        ("points at which the controller was killed", f"{len(kills)} of {len(points(changes()))}", "all"),
        ("sequences of the model-based test", f"{model:,}", "–"),
        ("jobs lost", "0", "0"),
        ("jobs run twice at once, or reported done without their result", "0", "0"),
        ("machines, workspaces or processes left", "0", "0"),
        *(_adoption(one) for one in _read("adoption")),
    ]
    return ["| what | figure | target |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]


def _adoption(one: Mapping[str, Any]) -> tuple[str, str, str]:
    text = f"start of the controller → all of {one['jobs']} running jobs taken over"
    return text, f"{one['seconds']:.2f} s", f"≤ {ADOPTION_S:.0f} s"


def _strikes() -> list[str]:
    counted: Counter[str] = Counter()
    spoiled = 0
    for storm in _read("storm"):
        counted.update(storm["strikes"])
        spoiled += storm["tools spoiled"]
    rows = [(STRIKES[name], number) for name, number in counted.most_common()]
    rows.append(("terraform or ansible made to fail, hang, lie, die half-way or print garbage", spoiled))
    return ["| done to these lives | times |", "|---|---|", *(f"| {text} | {number:,} |" for text, number in rows)]


def _read(kind: str) -> Iterator[dict[str, Any]]:
    for path in sorted((FIGURES / kind).glob("*.json")) if (FIGURES / kind).is_dir() else ():
        yield json.loads(Path(path).read_text())
