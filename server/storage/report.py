"""What a run told beside its result (``.cumulus.report``): warnings, and what the record of the run is made of.

The runner writes it (``cumulus_runner/report.py``). It comes from a machine that an app ran on, so it is read as anybody's text.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class RunReport(BaseModel):
    """One attempt's report. Lists are as the runner wrote them; whoever uses a part of one checks that part."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    attempt: int
    version: int = 1
    warnings: tuple[str, ...] = ()
    inputs: tuple[dict[str, Any], ...] = ()
    conversions: tuple[dict[str, Any], ...] = ()
    files: tuple[dict[str, Any], ...] = ()
    figures: tuple[dict[str, Any], ...] = ()
    results: tuple[dict[str, Any], ...] = ()
    machine: dict[str, Any] = {}
