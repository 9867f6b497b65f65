"""`make bench`: measures what a job and what an answer cost on this computer, and writes docs/performance.md.

`python -m tests.bench api` measures one part alone.
"""

import sys

from tests.bench import api, jobs

PARTS = {"jobs": jobs.main, "api": api.main}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
