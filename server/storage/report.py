"""How a run ended (``.cumulus.result``), and what the record of the run is made of (``.cumulus.report``).

The runner writes both (``cumulus_runner/folder.py``, ``cumulus_runner/report.py``). They come from a machine that an app
ran on, so they are read as anybody's text.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast

Entries = Annotated[tuple[dict[str, Any], ...], FailFast()]  # or each of a million wrong ones would be reported


class RunResult(BaseModel):
    """How one attempt ended; the last file that the runner writes. Times are Unix seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    attempt: int
    version: int = 1
    exit_code: int
    stage: str
    message: str = ""
    end_tag_seen: bool | None = None
    started: float | None = None
    ended: float | None = None


class RunReport(BaseModel):
    """One attempt's report. Lists are as the runner wrote them; whoever uses a part of one checks that part."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    attempt: int
    version: int = 1
    warnings: Annotated[tuple[str, ...], FailFast()] = ()
    inputs: Entries = ()
    conversions: Entries = ()
    files: Entries = ()
    figures: Entries = ()
    results: Entries = ()
    machine: dict[str, Any] = {}
