"""What a run tells beside its result: warnings, and what the record of the run is made of. Owns the file's format on this side.

``.cumulus.report`` in the job's folder is written once, before the result. ``server/storage/report.py`` reads it.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, field
from typing import Any

VERSION = 1
MAX_WARNINGS = 200
MAX_WARNING = 1000  # characters
MAX_TEXT = 48_000_000  # characters; the controller reads no larger file


@dataclass
class Report:
    """Filled by the stages of one attempt, from any thread.

    ``warnings``: sentences for the job's owner; the job is done with a warning then. ``inputs``: each input file as it was read.
    ``conversions``: what was made of them. ``files``: how the app ended with each file, where it runs file by file.
    ``figures``: what the app says it found. ``results``: each result as it was stored.
    """

    attempt: int
    warnings: list[str] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    conversions: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def warn(self, text: str) -> None:
        """Add a warning; each is kept once."""
        text = text.encode("utf-8", "replace").decode("utf-8")[:MAX_WARNING]
        with self._lock:
            if text not in self.warnings and len(self.warnings) < MAX_WARNINGS:
                self.warnings.append(text)

    def to_text(self) -> str:
        """The file's content; without the list of results where that is longer than the controller reads."""
        with self._lock:
            text = json.dumps(asdict(self), indent=1) + "\n"
            if len(text) <= MAX_TEXT:
                return text
            rest = {**asdict(self), "results": [], "results_left_out": len(self.results)}
            return json.dumps(rest, indent=1) + "\n"
