"""A job once more: where its files are looked for, and what is said where they are not to be had."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from server.catalog.model import App
from server.engine.records.record import JobRecord, RecordedApp, RecordedFlavor, RecordedInput
from server.errors import InvalidInput
from server.services.records.rerun import Checksum, FolderOf, form_of_today, gathered, plan
from server.storage.folders import JobFolder
from server.storage.inputs.checksums import content_sha256
from tests.catalog.building import app

SHARED = '<filelist name="f" label="F" multiple="true" is_folder="{0}" is_raw_input="{1}"/>'
NUMBER = '<number name="n" label="N" value="1" min="0" max="9"/>'
GOOD = b"what was read"
SHA256 = hashlib.sha256(GOOD).hexdigest()


@dataclass(frozen=True)
class Rerun:
    """What is submitted, and where its files are."""

    settings: dict[str, Any]
    shared: tuple[Path, ...]
    local: tuple[Path, ...]
    remarks: tuple[str, ...]


def again(app: App, record: JobRecord, folder: JobFolder, data: Path, folder_of: FolderOf, checksum: Checksum) -> Rerun:
    planned = plan(app, record, folder, data, folder_of)
    return Rerun(planned.settings, *gathered(planned.files, checksum), planned.remarks)


@dataclass
class Place:
    """A storage with a job's folder, and that of an earlier step, job 5."""

    root: Path
    record: dict[str, Any] = field(default_factory=dict)
    app: App = field(default_factory=lambda: app(SHARED.format("false", "true") + NUMBER))

    def __post_init__(self) -> None:
        self.data.mkdir()
        for folder in (self.folder, self.step):
            folder.create("{}")

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def folder(self) -> JobFolder:
        return JobFolder(self.root / "job")

    @property
    def step(self) -> JobFolder:
        return JobFolder(self.root / "step")

    def again(self, *read: RecordedInput, **settings: Any) -> Rerun:
        form = {"f": [one.name for one in read], "n": "2", **settings}
        record = JobRecord(
            id=7, owner="ada", app=RecordedApp(id="x"), flavor=RecordedFlavor(name="m"), created=1, settings=form, inputs=read
        )
        return again(self.app, record, self.folder, self.data, {5: self.step}.get, content_sha256)

    def refused(self, *read: RecordedInput, **settings: Any) -> str:
        with pytest.raises(InvalidInput) as caught:
            self.again(*read, **settings)
        return caught.value.message


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


KNOWN = RecordedInput(name="a.raw", sha256=SHA256, size=len(GOOD))


def test_a_form_that_cannot_be_read_is_not_replaced_by_defaults(place: Place) -> None:
    record = JobRecord(id=7, owner="ada", app=RecordedApp(id="x"), flavor=RecordedFlavor(name="m"), created=1)
    without_files = app(NUMBER)
    with pytest.raises(InvalidInput, match="the form of job 7 cannot be read"):
        again(without_files, record, place.folder, place.data, {}.get, content_sha256)


def test_the_job_s_own_file_comes_first(place: Place) -> None:
    for folder in (place.folder.input, place.data):
        (folder / "a.raw").write_bytes(GOOD)
    found = place.again(KNOWN)
    assert (found.shared, found.local, found.remarks) == ((place.folder.input / "a.raw",), (), ())
    assert found.settings == {"f": ["a.raw"], "n": "2"}


@pytest.mark.parametrize("own", [None, b"another content"])
def test_else_that_of_the_shared_data_if_it_is_the_same(place: Place, own: bytes | None) -> None:
    if own is not None:
        (place.folder.input / "a.raw").write_bytes(own)
    (place.data / "a.raw").write_bytes(GOOD)
    assert place.again(KNOWN).shared == (place.data / "a.raw",)


@pytest.mark.parametrize("where", ["data", "job/input"])
def test_another_content_of_that_name_is_refused_with_the_name(place: Place, where: str) -> None:
    (place.root / where / "a.raw").write_bytes(b"what was wead")  # of the same length
    assert place.refused(KNOWN) == f"a.raw is not what job 7 has read: send the file with the SHA-256 {SHA256} again"


def test_what_is_gone_is_named(place: Place) -> None:
    assert place.refused(KNOWN) == f"a.raw is no longer in the storage: send the file with the SHA-256 {SHA256} again"


def test_no_link_is_followed(place: Place) -> None:
    (place.root / "elsewhere").write_bytes(GOOD)
    for folder in (place.folder.input, place.data):
        os.symlink(place.root / "elsewhere", folder / "a.raw")
    assert "no longer in the storage" in place.refused(KNOWN)


def test_without_a_checksum_only_what_the_job_has_kept_is_taken_and_that_is_said(place: Place) -> None:
    bare = RecordedInput(name="a.raw")
    (place.data / "a.raw").write_bytes(GOOD)
    assert "no checksum was recorded" in place.refused(bare)
    (place.folder.input / "a.raw").write_bytes(GOOD)
    assert place.again(bare).remarks == ("a.raw: its checksum was not recorded; what is kept with job 7 is taken",)


def test_a_folder_is_known_by_all_that_is_in_it(place: Place) -> None:
    place.app = app(SHARED.format("true", "false") + NUMBER)
    (place.folder.input / "a.d" / "deep").mkdir(parents=True)
    (place.folder.input / "a.d" / "deep" / "x").write_bytes(GOOD)
    known = RecordedInput(name="a.d", sha256=content_sha256(place.folder.input / "a.d"))
    assert place.again(known).local == (place.folder.input / "a.d",)
    (place.folder.input / "a.d" / "more").touch()
    assert "a.d is not what job 7 has read" in place.refused(known)


RESULT = RecordedInput(name="r.tsv", origin="result", job=5, path="deep/r.tsv", sha256=SHA256)


@pytest.mark.parametrize("where", ["job/input/r.tsv", "data/r.tsv", "step/output/deep/r.tsv"])
def test_a_result_of_an_earlier_step_becomes_a_file_of_the_job(place: Place, where: str) -> None:
    (place.step.output / "deep").mkdir()
    (place.root / where).write_bytes(GOOD)
    found = place.again(RESULT, f=["%job_dir_0%/output/deep/r.tsv"])
    assert (found.settings["f"], found.shared) == (["r.tsv"], (place.root / where,))


@pytest.mark.parametrize("path", ["../../outside", "{root}/outside", "../.cumulus.settings", "link"])
def test_a_forged_record_leads_nowhere_but_to_results(place: Place, path: str) -> None:
    (place.root / "outside").write_bytes(GOOD)
    (place.step.path / ".cumulus.settings").write_bytes(GOOD)
    (place.step.output / "link").symlink_to(place.root / "outside")
    forged = RESULT.model_copy(update={"path": path.format(root=place.root)})
    assert "no longer kept" in place.refused(forged, f=["%job_dir_0%/output/deep/r.tsv"])


def test_an_input_folder_that_leads_elsewhere_is_not_the_job_s_own(place: Place) -> None:
    (place.root / "outside").mkdir()
    (place.root / "outside" / "a.raw").write_bytes(GOOD)
    place.folder.input.rmdir()
    place.folder.input.symlink_to(place.root / "outside")
    for sha256 in ("", SHA256):
        assert "no longer" in place.refused(KNOWN.model_copy(update={"sha256": sha256}))


def test_a_result_that_is_not_kept_is_said_to_be_that_of_its_job(place: Place) -> None:
    words = place.refused(RESULT, f=["%job_dir_0%/output/deep/r.tsv"])
    assert words.startswith("r.tsv, a result of job 5, is no longer kept as job 7 has read it: run job 5 again first")


def test_the_form_loses_what_the_app_no_longer_has_and_gains_the_new_defaults() -> None:
    today = app(NUMBER + '<string name="new" label="New" value="x"/>')
    assert form_of_today(today, {"n": "3", "old": "y", "app_id": "x_1"}) == {"n": "3", "app_id": "x_1", "new": "x"}


def test_a_value_that_the_app_no_longer_accepts_is_refused() -> None:
    with pytest.raises(InvalidInput, match="N is 12"):
        form_of_today(app(NUMBER), {"n": "12"})
