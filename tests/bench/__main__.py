"""`make bench`: measures what jobs, tools and answers cost on this computer, and writes docs/performance.md with its plot.

`python -m tests.bench jobs` measures one part alone. A whole run takes a quarter of an hour at most on two emulated cores.
"""

import argparse
import signal
import sys
from collections.abc import Mapping

from tests.bench import agent, api, clients, demo, door, growth, inspect, jobs, openstack, overheads, plot, results, uploads
from tests.bench.measuring import Options, keep_results, read_results, say, timed, write

PARTS = {
    "jobs": jobs.main,
    "overheads": overheads.main,
    "growth": growth.main,
    "api": api.main,
    "clients": clients.main,
    "door": door.main,
    "agent": agent.main,
    "results": results.main,
    "inspect": inspect.main,
    "uploads": uploads.main,
    "demo": demo.main,
}
ELSEWHERE = {"openstack": openstack.main}  # needs a cloud: measured only where it is named


def main() -> None:
    """Run the parts that are asked for, then draw."""
    arguments = argparse.ArgumentParser("python -m tests.bench", description=__doc__.splitlines()[0])
    arguments.add_argument("parts", nargs="*", choices=[*PARTS, *ELSEWHERE, []], help="default: all but openstack")
    arguments.add_argument("--keep", action="store_true", help="use the template and snapshot of an earlier run")
    arguments.add_argument(
        "--lifecycles",
        type=int,
        default=0,
        help="jobs that growth runs to their end (default: as many as fit in 3 minutes), or rounds of openstack (default: 7)",
    )
    given = arguments.parse_args()
    options = Options(given.keep, given.lifecycles)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in order: the controller and its machines end, too
    for part in given.parts or PARTS:
        seconds = timed(lambda part=part: (PARTS | ELSEWHERE)[part](options))  # type: ignore[misc]
        keep_results("taken_s", read_results().get("taken_s", {}) | {part: seconds})
        say(f"The part {part} took {seconds:.0f} s")
    if any(part in PARTS for part in given.parts or PARTS):
        write("parts", taken(read_results()["taken_s"]))
        plot.main()


def taken(seconds: Mapping[str, float]) -> list[str]:
    """How long each part took when it was measured last."""
    found = [(part, seconds[part]) for part in PARTS if part in seconds]
    total = sum(one for _, one in found)
    parts = ", ".join(f"{part} {one:.0f} s" for part, one in found)
    return [f"The last measurements took {parts}: {total / 60:.1f} minutes in all (target ≤ 15)."]


if __name__ == "__main__":
    main()
