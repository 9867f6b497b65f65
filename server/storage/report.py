"""What a run told beside its result (``.cumulus.report``): warnings, and what the record of the run is made of.

The runner writes it (``cumulus_runner/report.py``). It comes from a machine that an app ran on, so it is read as anybody's text.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast

Entries = Annotated[tuple[dict[str, Any], ...], FailFast()]  # or each of a million wrong ones would be told of


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
