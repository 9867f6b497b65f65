"""The names of the files in a job's folder that more than one module knows (``docs/architecture.md`` lists all)."""

import re

from server.storage.paths import PRIVATE_PREFIX

# What appears in a job's folder when its sender or its runner has done all it had to do.
ARRIVED, RESULT = f"{PRIVATE_PREFIX}rsync", f"{PRIVATE_PREFIX}result"
LOG = f"{PRIVATE_PREFIX}log"
FORM = "form"  # of a job that was taken over from the former server, whose `.cumulus.settings` is its whole request
RECORD = "job.json"  # the record of the run, the only file at the top of the folder that people look for
ARCHIVE = re.compile(
    RECORD.replace(".", r"\.") + "|" + re.escape(PRIVATE_PREFIX) + r"(job|settings|form|log|result|report|failure\.[0-9]{1,9})"
)
HALF_WRITTEN = re.compile(re.escape(PRIVATE_PREFIX) + r"(job|record)\.[0-9a-f]{32}\.new")
