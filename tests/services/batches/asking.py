"""Batches of the test app, asked for by somebody."""

from pathlib import Path
from typing import Any

from cumulus_client.batches import NewBatch, Submitted
from server.app import Controller
from server.services.principal import Principal

ADA = Principal.local_user("ada")
EVE = Principal.local_user("eve")


def asked(**given: Any) -> NewBatch:
    """A batch of the app that succeeds at once."""
    return NewBatch(**{"app": "probe_1.0", "flavor": "m1.4xlarge", **given})


def store(controller: Controller, *names: str) -> list[str]:
    """Put files into the shared data."""
    for name in names:
        Path(controller.storage.data / name).write_text(name)
    return list(names)


def submitted(controller: Controller, count: int = 3, **given: Any) -> Submitted:
    """A batch with that many jobs, whose files are there."""
    files = store(controller, *(f"s{number}.dat" for number in range(1, count + 1)))
    return controller.batches.submit(ADA, asked(files=files, **given))
