"""From a fresh clone to a first result: `make demo` twice, as a new user types it, step by step."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from server.errors import InfrastructureError
from server.settings import CHECKOUT
from tests.bench.measuring import Options, computer, say, write

HOME = CHECKOUT / "var" / "bench-demo"
LIMIT_S = 1800.0
FIRST_S, SECOND_S = 120.0, 20.0
LEAST_S = 1
# "Saving the machine's memory: 1 s (280 MB)", "Waiting: 2 min 3 s"; not the signs of life in between, which go on after a comma.
STEP = re.compile(r"^(?P<text>\S.*?): (?:(?P<minutes>\d+) min )?(?P<seconds>\d+) s(?: \((?P<counted>[^()]*)\))?$", re.MULTILINE)


def main(options: Options) -> None:
    """Measure, print the table and write it down."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    checkout = HOME / "checkout"
    subprocess.run(["git", "clone", "--quiet", CHECKOUT, checkout], check=True)
    say("A first demonstration in a fresh clone")
    first_s, output = demonstrate(checkout)
    say("A second one")
    second_s, _ = demonstrate(checkout)
    shutil.rmtree(HOME)
    write("demo", [f"{computer()}.", "", *table(first_s, second_s, steps_of(output))])


def demonstrate(checkout: Path) -> tuple[float, str]:
    """Seconds of one `make demo`, and what it printed. Raises InfrastructureError where it finds nothing."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("CUMULUS_", "MAKE", "MFLAGS"))}
    begin = time.monotonic()
    done = subprocess.run(
        ["make", "demo"],
        cwd=checkout,
        env=clean,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise InfrastructureError(f"make demo failed:\n{done.stdout[-2000:]}")
    return time.monotonic() - begin, done.stdout


def steps_of(output: str) -> list[tuple[str, int, str]]:
    """What each step was, its seconds, and what it counted; in the order of their ends, those of a second and more."""
    found = [
        (one["text"], int(one["minutes"] or 0) * 60 + int(one["seconds"]), one["counted"] or "") for one in STEP.finditer(output)
    ]
    return [step for step in found if step[1] >= LEAST_S]


def table(first_s: float, second_s: float, steps: list[tuple[str, int, str]]) -> list[str]:
    """The report's lines."""
    rows = [
        ("**first `make demo` in a fresh clone**", f"**{first_s:.0f} s**", f"≤ {FIRST_S:.0f} s"),
        *((f"{text}{f' ({counted})' if counted else ''}", f"{seconds} s", "–") for text, seconds, counted in steps),
        ("**second `make demo`**", f"**{second_s:.0f} s**", f"≤ {SECOND_S:.0f} s"),
    ]
    return ["| what | took | target |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
