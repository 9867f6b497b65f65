"""A workflow of two steps as any client submits it over REST: filter the spectra, search what is left."""

import json
from pathlib import Path

import pytest

from scripts.demo import EXAMPLE
from scripts.psms import best_by_score, parse_psms
from server.catalog.apps import Catalog
from server.catalog.workflows import FilledStep, preset_values
from server.settings import CloudName, Settings
from server.storage.folders import Storage
from server.storage.inputs.delivery import deliver
from tests.e2e.conftest import served, wait_for

pytestmark = [pytest.mark.system]


@pytest.fixture(params=[CloudName.LOCAL, pytest.param(CloudName.QEMU, marks=[pytest.mark.vm, pytest.mark.timeout(1800)])])
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Without a machine, and with two real ones."""
    home = request.getfixturevalue("vm_home") if request.param is CloudName.QEMU else tmp_path
    made = Settings(home=home, cloud=request.param)
    monkeypatch.setenv("CUMULUS_HOME", str(made.home))
    monkeypatch.setenv("CUMULUS_CLOUD", made.cloud)
    return made


def test_spectra_are_filtered_by_one_job_and_searched_by_the_next(settings: Settings, tmp_path: Path) -> None:
    workflow = Catalog(settings.apps).workflows()["filter_and_search_1.0.0"]
    filtering, search = workflow.steps
    forms = [json.loads((EXAMPLE / "filter.json").read_text()), json.loads((EXAMPLE / "settings.json").read_text())]
    apps = Catalog(settings.apps).apps()
    forms[1].update(preset_values(search.presets, apps[search.app], [FilledStep(apps[filtering.app], forms[0])]))
    storage, flavor = Storage(settings.storage), settings.default_flavor
    with served(settings, tmp_path / "log") as (client, _):
        first = client.start("ada", filtering.app, flavor, forms[0], workflow=workflow.name)
        second = client.start("ada", search.app, flavor, forms[1], after=first.job_id, workflow=workflow.name)
        deliver(storage, storage.folder(second.folder), [EXAMPLE / "bsa.fasta"])
        assert client.job(second.job_id)["status"] == "PENDING"
        deliver(storage, storage.folder(first.folder), [EXAMPLE / "BSA1.mzML.gz"])
        rows = [wait_for(client, job.job_id) for job in (first, second)]
        assert [row["status"] for row in rows] == ["DONE", "DONE"], rows[-1]["log"]
        client.download("ada", first.job_id, "BSA1.mzML", tmp_path / "BSA1.mzML")
        name = next(path for path, _ in rows[1]["files"] if path.endswith(".txt") and "decoy" not in path)
        client.download("ada", second.job_id, name, tmp_path / "psms.txt")
    assert (tmp_path / "BSA1.mzML").read_text().count("<spectrum ") == 1120
    best = best_by_score(parse_psms((tmp_path / "psms.txt").read_text()))
    # The file's spectra have no scan numbers, so Comet counts: what was the 1665th is the 1101st of those that are left.
    assert (best[0].peptide, best[0].scan) == ("K.HLVDEPQNLIK.Q", 1101)
    assert "sp|P02769|ALBU_BOVIN" in best[0].protein
    assert rows[1]["start_after_id"] == first.job_id
    assert rows[1]["workflow_name"] == "Filter and search"
