"""The apps that the demonstration and the workflow do not use, run on the example on real machines."""

from pathlib import Path

import pytest

from scripts.demo import EXAMPLE, controller, prepare
from server.settings import CloudName, Settings
from server.storage.delivery import deliver
from server.storage.folders import Storage
from tests.catalog.forms import untouched_form
from tests.e2e.conftest import wait_for

SPECTRA, DATABASE = "/home/ada/BSA1.mzML.gz", "/home/ada/bsa.fasta"

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


def test_a_search_and_a_feature_finder_convert_the_example_and_find_albumin(
    vm_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=vm_home, cloud=CloudName.QEMU)
    monkeypatch.setenv("CUMULUS_HOME", str(vm_home))
    monkeypatch.setenv("CUMULUS_CLOUD", CloudName.QEMU)
    storage = Storage(settings.storage)
    search = untouched_form("xtandem_2017.2.1.4", spectra=[SPECTRA], database=DATABASE)
    # One charge only: of all four, an emulated processor has seven minutes' work.
    only = {"charge-min": "2", "charge-max": "2"}
    features = untouched_form("featurefindercentroided_2.6.0", spectra=[SPECTRA], **only)
    prepare()
    with controller(settings) as client:
        jobs = [
            client.start("ada", app, settings.default_flavor, form)
            for app, form in (("xtandem_2017.2.1.4", search), ("featurefindercentroided_2.6.0", features))
        ]
        for job in jobs:
            deliver(storage, storage.folder(job.folder), [EXAMPLE / "BSA1.mzML.gz", EXAMPLE / "bsa.fasta"])
        rows = [wait_for(client, job.job_id) for job in jobs]
        assert [row["status"] for row in rows] == ["DONE", "DONE"], [row["log"] for row in rows]
        client.download("ada", jobs[0].job_id, "BSA1.t.xml", tmp_path / "BSA1.t.xml")
        client.download("ada", jobs[1].job_id, "BSA1.features.tsv", tmp_path / "BSA1.features.tsv")
    assert 'seq="HLVDEPQNLIK"' in (tmp_path / "BSA1.t.xml").read_text()
    lines = (tmp_path / "BSA1.features.tsv").read_text().splitlines()
    assert sum(line.startswith("FEATURE") for line in lines) > 200
