"""The apps that the demonstration and the workflow do not use, run on the example on real machines."""

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.demo import EXAMPLE
from server.settings import CloudName, Settings
from server.storage.folders import Storage
from server.storage.inputs.delivery import deliver
from tests.catalog.forms import untouched_form
from tests.e2e.conftest import served, wait_for

SPECTRA, DATABASE = "/home/ada/part.mzML.gz", "/home/ada/bsa.fasta"
# Some survey spectra, and fragment spectra with the best match among them: an emulated processor has minutes' work with all.
PART = "index [400,469] [1500,1683]"

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]


def part_of_the_example(folder: Path) -> Path:
    """Some of its spectra, gzipped and without an index as they are there."""
    command = ["msconvert", EXAMPLE / "BSA1.mzML.gz", "--filter", PART, "--noindex", "--gzip", "--outfile", "part", "-o", folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("part*")).rename(folder / "part.mzML.gz")


@pytest.mark.skipif(not shutil.which("msconvert"), reason="msconvert (Debian's libpwiz-tools) is not installed")
def test_a_search_and_a_feature_finder_convert_spectra_and_find_albumin(
    vm_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=vm_home, cloud=CloudName.QEMU)
    monkeypatch.setenv("CUMULUS_HOME", str(vm_home))
    monkeypatch.setenv("CUMULUS_CLOUD", CloudName.QEMU)
    storage = Storage(settings.storage)
    search = untouched_form("xtandem_2017.2.1.4", spectra=[SPECTRA], database=DATABASE)
    one_charge = {"charge-min": "2", "charge-max": "2"}  # of four: a quarter of the work
    features = untouched_form("featurefindercentroided_2.6.0", spectra=[SPECTRA], **one_charge)
    spectra = part_of_the_example(tmp_path)
    with served(settings, tmp_path / "log") as (client, _):
        jobs = [
            client.start("ada", app, settings.default_flavor, form)
            for app, form in (("xtandem_2017.2.1.4", search), ("featurefindercentroided_2.6.0", features))
        ]
        for job in jobs:
            deliver(storage, storage.folder(job.folder), [spectra, EXAMPLE / "bsa.fasta"])
        rows = [wait_for(client, job.job_id) for job in jobs]
        assert [row["status"] for row in rows] == ["DONE", "DONE"], [row["log"] for row in rows]
        client.download("ada", jobs[0].job_id, "part.t.xml", tmp_path / "part.t.xml")
        client.download("ada", jobs[1].job_id, "part.features.tsv", tmp_path / "part.features.tsv")
    assert 'seq="HLVDEPQNLIK"' in (tmp_path / "part.t.xml").read_text()
    lines = (tmp_path / "part.features.tsv").read_text().splitlines()
    assert sum(line.startswith("FEATURE") for line in lines) > 20
