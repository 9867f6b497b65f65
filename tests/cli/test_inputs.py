"""A form and its files from what somebody typed; nothing of this needs a controller."""

import os
from pathlib import Path

import pytest

from server.catalog.apps import Catalog
from server.catalog.forms import UnknownName
from server.cli.sending.shared_files import LocalFiles
from server.cli.shared.inputs import Prepared, prepare
from server.errors import InvalidInput
from server.settings import CHECKOUT
from tests.catalog.building import app

COMET = Catalog(CHECKOUT / "apps").get("comet_2019.015")
LOCAL = '<filelist name="{0}" label="The {0}" multiple="{1}" is_folder="{2}" is_raw_input="false"/>'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that somebody works in, with files of his own; ``data`` is the storage's."""
    monkeypatch.chdir(tmp_path)
    for name in ("data", "other", "a.d"):
        (tmp_path / name).mkdir()
    for name in ("a.mzML", "other/a.mzML", "a.mgf", "b=c.mzML", "spectra=a.mzML", "p.fasta", "p.fasta.gz", "note.txt"):
        (tmp_path / name).write_text(name)
    os.mkfifo(tmp_path / "pipe.fasta")
    return tmp_path


def prepared(place: Path, *inputs: str, sets: tuple[str, ...] = (), stored: tuple[str, ...] = (), **given: object) -> Prepared:
    return prepare(COMET, given, sets, inputs, LocalFiles(place / "data"), stored)


def test_files_go_where_the_app_says_under_the_names_of_its_fields(place: Path) -> None:
    made = prepared(place, "spectra=a.mzML", "database=p.fasta", sets=("precursor_tolerance=20",))
    assert made.settings["spectra"] == [str(place / "a.mzML")]
    assert made.settings["database"] == [str(place / "p.fasta")]
    assert (made.settings["precursor_tolerance"], made.settings["enzyme"]) == ("20", "trypsin")
    assert (made.shared, made.local) == ((place / "a.mzML", place / "p.fasta"), ())


def test_a_file_of_the_job_alone_stays_with_it_and_folders_are_folders(place: Path) -> None:
    made = prepare(app(LOCAL.format("own", "true", "true")), {}, [], ["own=a.d"], LocalFiles(place / "data"))
    assert (made.shared, made.local) == ((), (place / "a.d",))


def test_an_equals_sign_may_be_part_of_a_name(place: Path) -> None:
    made = prepared(place, "spectra=b=c.mzML", "database=p.fasta")
    assert made.shared[0] == place / "b=c.mzML"
    beside = prepared(place, "./spectra=a.mzML", "database=p.fasta", spectra=["/far/spectra=a.mzML"])
    assert beside.shared[0] == place / "spectra=a.mzML"


def test_a_field_of_files_can_be_set_too(place: Path) -> None:
    assert prepared(place, sets=("spectra=a.mzML", "database=p.fasta")).shared == (place / "a.mzML", place / "p.fasta")


def test_a_form_from_elsewhere_is_sent_with_files_of_its_names(place: Path) -> None:
    form = {"app_id": COMET.id, "spectra": ["C:\\Users\\ada\\a.mzML"], "database": "//server/share/p.fasta"}
    made = prepared(place, "a.mzML", "p.fasta", **form)
    assert made.settings["spectra"] == ["C:\\Users\\ada\\a.mzML"]
    assert made.shared == (place / "a.mzML", place / "p.fasta")


def test_what_is_in_the_storage_is_used_if_somebody_says_so(place: Path) -> None:
    (place / "data" / "p.fasta").write_text("shared")
    made = prepared(place, "spectra=a.mzML", stored=("database=p.fasta",))
    assert (made.shared, made.stored) == ((place / "a.mzML",), ("p.fasta",))
    assert made.settings["database"] == [str(place / "data" / "p.fasta")]
    named = prepared(place, "spectra=a.mzML", stored=("p.fasta",), database="/far/p.fasta")
    assert (named.shared, named.stored, named.settings["database"]) == ((place / "a.mzML",), ("p.fasta",), "/far/p.fasta")


def test_a_file_of_another_name_s_meaning_in_the_storage_is_not_used_by_itself(place: Path) -> None:
    """It may be another one than the form's."""
    (place / "data" / "p.fasta").write_text("shared")
    with pytest.raises(InvalidInput) as refused:
        prepared(place, "spectra=a.mzML", database="/far/p.fasta")
    assert refused.value.message == (
        "Protein database (database): 'p.fasta' is not sent; send it: --input database=PATH, "
        "or use the storage's: --shared database=p.fasta"
    )


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (("database=q.fasta",), "--shared database=q.fasta: the storage has no shared file 'q.fasta'; send it by --input"),
        (("q.fasta",), "--shared q.fasta: the storage has no shared file 'q.fasta'; send it by --input"),
        (("database=p.fasta", "b.fasta"), "--shared b.fasta: no field of the form names this file; give --shared NAME=FILE"),
        (("database=../p.fasta",), "the storage has no shared file '../p.fasta'"),
        (("databse=p.fasta",), "Comet has no field 'databse'; did you mean database?"),
        (("enzyme=p.fasta",), "Enzyme (enzyme) is no field of files; use --set"),
        (("database=p.fasta", "database=b.fasta"), "Protein database (database) has 2 files, only one is possible"),
        (("database=p.fasta", "spectra=run.mzML"), "run.mzML is no file"),
        (("spectra=a.mzML",), "a.mzML is given twice, by --input and by --shared"),
        (("database=link.fasta",), "the storage has no shared file 'link.fasta'"),
    ],
)
def test_what_cannot_be_used_from_the_storage_is_named(place: Path, stored: tuple[str, ...], message: str) -> None:
    for name in ("p.fasta", "b.fasta", "a.mzML"):
        (place / "data" / name).write_text("shared")
    (place / "data" / "run.mzML").mkdir()
    (place / "data" / "link.fasta").symlink_to("p.fasta")
    with pytest.raises(InvalidInput) as refused:
        prepared(place, "spectra=a.mzML", stored=stored)
    assert message in refused.value.message


def test_the_job_s_own_files_are_sent_by_its_submitter(place: Path) -> None:
    (place / "data" / "x.txt").write_text("shared")
    own_app = app(LOCAL.format("own", "true", "false"))
    with pytest.raises(InvalidInput, match=r"'x.txt' is the job's own and cannot be shared; send it: --input own=PATH"):
        prepare(own_app, {}, [], [], LocalFiles(place / "data"), ["own=x.txt"])


def test_the_home_folder_may_be_written_short(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    assert prepared(place, "spectra=~/a.mzML", "database=~/p.fasta").shared == (place / "a.mzML", place / "p.fasta")


WELL = ("spectra=a.mzML", "database=p.fasta")


@pytest.mark.parametrize(
    ("inputs", "sets", "message"),
    [
        ((), (), "Spectrum files (spectra) and Protein database (database) are missing: a file has to be given for each"),
        (("spectra=a.mzML",), (), "Protein database (database) is missing: a file has to be given"),
        (("database=p.fasta",), (), "Spectrum files (spectra) is missing: a file has to be given"),
        (("spektra=a.mzML",), (), "Comet has no field 'spektra'; did you mean spectra?"),
        (WELL, ("enzym=trypsin",), "Comet has no field 'enzym'; did you mean enzyme?"),
        (WELL, ("enzyme",), "--set enzyme: a field is set by NAME=VALUE"),
        (WELL, ("app_id=x",), "app_id cannot be set"),
        (("spectra=b.mzML", "database=p.fasta"), (), "Spectrum files (spectra): there is no file b.mzML"),
        (("spectra=", "database=p.fasta"), (), "Spectrum files (spectra): no file is given"),
        (("b.mzML", *WELL), (), "--input: there is no file b.mzML"),
        (("note.txt", *WELL), (), "note.txt: no field of the form names this file; give --input NAME=PATH"),
        (("enzyme=a.mzML", *WELL), (), "--input enzyme=a.mzML: Enzyme (enzyme) is no field of files; use --set"),
        (("spectra=other/a.mzML", *WELL), (), "have the same name: rename one of them"),
        (("spectra=a.mzML", *WELL), (), "Spectrum files (spectra): a.mzML is given twice"),
        (("spectra=a.mgf", *WELL), (), "would both be 'a.mzML' for the app"),
        (
            ("spectra=note.txt", "database=p.fasta"),
            (),
            "Spectrum files (spectra) has 'note.txt', which does not end with .mzML or",
        ),
        (("spectra=a.mzML", "database=p.fasta.gz"), (), "Protein database (database) has 'p.fasta.gz', which does not end with"),
        (("spectra=a.mzML", "database=pipe.fasta"), (), "pipe.fasta is no file"),
        (("database=a.mzML", *WELL), (), "Protein database (database) has 2 files, only one is possible"),
        (WELL, ("enzyme=tripsin",), "Enzyme (enzyme) is 'tripsin', not one of trypsin,"),
        (WELL, ("precursor_tolerance=-1",), "Precursor mass tolerance (precursor_tolerance) is -1, less than 0"),
        (WELL, ("digest_mass-min=x",), "Peptide mass (MH+), Da (digest_mass-min) is 'x', not a number"),
        (WELL, ("output_txt=yes",), "Table (.txt) (output_txt) is 'yes', not true or false"),
    ],
)
def test_what_cannot_work_is_named_by_its_label(
    place: Path, inputs: tuple[str, ...], sets: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        prepared(place, *inputs, sets=sets)
    assert message in refused.value.message
    assert isinstance(refused.value, UnknownName) or not refused.value.field  # the message has the key beside the label


def test_a_field_of_a_branch_that_is_not_taken_is_refused(place: Path) -> None:
    msconvert = Catalog(CHECKOUT / "apps").get("msconvert_3.0.18342")
    with pytest.raises(InvalidInput, match=r"Peaks \(threshold_count\) does not count with these settings"):
        prepare(msconvert, {}, ["threshold_count=9"], ["spectra=a.mzML"], LocalFiles(place / "data"))
    sets = ["threshold_count=9", "threshold_kind=count"]
    assert prepare(msconvert, {}, sets, ["spectra=a.mzML"], LocalFiles(place / "data")).settings["threshold_count"] == "9"


def test_a_file_that_a_form_names_and_nobody_has_is_refused(place: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"Protein database \(database\): 'p.fasta' is not in the storage; send it: --input database=PATH"
    ):
        prepared(place, "spectra=a.mzML", database="/far/p.fasta")
    own = app(LOCAL.format("own", "true", "false"))
    (place / "data" / "x.txt").write_text("shared, so not this job's own")
    with pytest.raises(InvalidInput, match=r"The own \(own\): 'x.txt' is not in the storage"):
        prepare(own, {"own": ["/far/x.txt"]}, [], [], LocalFiles(place / "data"))


def test_one_name_for_two_fields_is_one_file_or_refused(place: Path) -> None:
    two = app(LOCAL.format("first", "true", "false") + LOCAL.format("second", "true", "false"))
    assert prepare(two, {}, [], ["first=a.mzML", "second=a.mzML"], LocalFiles(place / "data")).local == (place / "a.mzML",)
    with pytest.raises(InvalidInput, match="have the same name"):
        prepare(two, {}, [], ["first=a.mzML", "second=other/a.mzML"], LocalFiles(place / "data"))
