"""msconvert, X! Tandem and FeatureFinderCentroided, really run on the example as their forms say, where they are installed."""

import gzip
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from server.catalog.files import mzml_name
from server.catalog.rendering.command import Variables, render, render_each
from server.catalog.values import check_settings
from server.settings import CHECKOUT
from server.storage.conversions import conversion
from tests.catalog.forms import CATALOG, untouched_form

pytestmark = pytest.mark.system

EXAMPLE = CHECKOUT / "examples" / "bsa"
MSCONVERT = "msconvert_3.0.18342"
XTANDEM = "xtandem_2017.2.1.4"
COMET = "comet_2019.015"
FEATURES = "featurefindercentroided_2.6.0"
MZML = "{http://psi.hupo.org/ms/mzml}"

Done = subprocess.CompletedProcess[str]


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {' '.join(missing)}")


needs_msconvert = needs("msconvert")
needs_xtandem = needs("msconvert", "tandem")
needs_features = needs("msconvert", "FeatureFinderCentroided", "TextExporter")


@pytest.fixture(scope="session")
def spectra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's spectra, converted as a worker does it."""
    folder = tmp_path_factory.mktemp("converted")
    found = conversion("BSA1.mzML.gz")
    assert found is not None
    places = {"{source}": str(EXAMPLE / "BSA1.mzML.gz"), "{folder}": str(folder), "{name}": found.target}
    subprocess.run([places.get(word, word) for word in found.command], check=True, capture_output=True)
    return folder / found.target


class Job:
    """A job's folders on a worker; ``run`` renders a form and runs its command there."""

    def __init__(self, place: Path, spectra: Path) -> None:
        self.input, self.output = place / "input", place / "output"
        for folder in (self.input, self.output, place / "temp"):
            folder.mkdir(parents=True)
        self.add("BSA1.mzML", spectra)
        self.add("bsa.fasta", EXAMPLE / "bsa.fasta")

    def add(self, name: str, target: Path) -> None:
        (self.input / name).symlink_to(target)

    def run(self, app_id: str, **changes: Any) -> Done:
        app = CATALOG.get(app_id)
        form = untouched_form(app_id, **{"spectra": ["/home/ada/BSA1.mzML"], **changes})
        check_settings(app, form)  # not whether files are missing: apps have to say so themselves, too
        variables = Variables(2, str(self.input), str(self.output), str(self.output.parent / ".cumulus.settings"))
        text = render(app, form, variables).command
        return subprocess.run(["sh", "-c", text], cwd=self.output, capture_output=True, text=True)

    def succeed(self, app_id: str, **changes: Any) -> str:
        done = self.run(app_id, **changes)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def results(self) -> list[str]:
        return sorted(path.name for path in self.output.iterdir())


@pytest.fixture
def job(tmp_path: Path, spectra: Path) -> Job:
    return Job(tmp_path / "job's place", spectra)


def spectra_of(path: Path) -> list[ET.Element]:
    return list(ET.parse(path).getroot().iter(f"{MZML}spectrum"))


def peaks_of(spectrum: ET.Element) -> int:
    return int(spectrum.get("defaultArrayLength", ""))


def term(spectrum: ET.Element, name: str) -> str:
    """The value of a controlled term of a spectrum, such as its MS level."""
    return next(found.get("value", "") for found in spectrum.iter(f"{MZML}cvParam") if found.get("name") == name)


def relabelled(kind: str) -> str:
    """The example with fragment spectra that are called so ("MSn"; it calls them mass spectra), or with "profile" spectra."""
    text = gzip.decompress((EXAMPLE / "BSA1.mzML.gz").read_bytes()).decode()
    old, new = {
        "MSn": ('accession="MS:1000294" name="mass spectrum"', 'accession="MS:1000580" name="MSn spectrum"'),
        "profile": ('accession="MS:1000127" name="centroid spectrum"', 'accession="MS:1000128" name="profile spectrum"'),
    }[kind]
    assert old in text
    return text.replace(old, new)


@needs_msconvert
class TestMsconvert:
    def test_an_untouched_form_writes_all_spectra_with_an_index_under_the_same_name(self, job: Job) -> None:
        assert "BSA1.mzML: 1684 spectra" in job.succeed(MSCONVERT)
        assert job.results() == ["BSA1.mzML"]
        result = job.output / "BSA1.mzML"
        text = result.read_bytes()
        root = ET.fromstring(text)
        assert root.tag == f"{MZML}indexedmzML"
        offsets = [int(found.text or "") for found in root.iter(f"{MZML}offset")]
        assert all(text[offset:].startswith((b"<spectrum ", b"<chromatogram ")) for offset in offsets)
        levels = [term(spectrum, "ms level") for spectrum in spectra_of(result)]
        assert (levels.count("1"), levels.count("2")) == (564, 1120)
        assert [peaks_of(one) for one in spectra_of(result)] == [peaks_of(one) for one in spectra_of(job.input / "BSA1.mzML")]

    def test_a_result_of_zlib_is_smaller(self, job: Job) -> None:
        job.succeed(MSCONVERT)
        packed = (job.output / "BSA1.mzML").stat().st_size
        job.succeed(MSCONVERT, compression="none", mz_precision="64", intensity_precision="64")
        assert packed < (job.output / "BSA1.mzML").stat().st_size

    def test_mgf_has_the_fragment_spectra_with_titles_and_charges(self, job: Job) -> None:
        assert "BSA1.mgf: 1120 spectra" in job.succeed(MSCONVERT, format="mgf")
        assert job.results() == ["BSA1.mgf"]
        first = (job.output / "BSA1.mgf").read_text().splitlines()[:5]
        assert first[0] == "BEGIN IONS"
        assert first[1].endswith(".565.565.2")
        assert first[3:] == ["PEPMASS=457.723968505859 0", "CHARGE=2+"]

    def test_filters_leave_what_they_say(self, job: Job) -> None:
        limits: dict[str, Any] = {"scan_time-min": "1600", "scan_time-max": "1700", "charge-min": "2", "charge-max": "2"}
        window: dict[str, Any] = {"mz_window-min": "300", "mz_window-max": "900", "fewest_peaks": "10"}
        job.succeed(MSCONVERT, ms_level="2", threshold_kind="count", threshold_count="20", **limits, **window)
        kept = spectra_of(job.output / "BSA1.mzML")
        assert 0 < len(kept) < 679
        assert {term(one, "charge state") for one in kept} == {"2"}
        assert all(1600 <= float(term(one, "scan start time")) <= 1700 for one in kept)
        assert all(10 <= peaks_of(one) <= 20 for one in kept)
        assert all(float(term(one, "lowest observed m/z")) >= 300 for one in kept)
        assert all(float(term(one, "highest observed m/z")) <= 900 for one in kept)

    @pytest.mark.parametrize(
        ("called", "changes"),
        [
            ("MSn", {"threshold_kind": "absolute", "threshold_absolute": "10.5"}),
            ("MSn", {"threshold_kind": "base", "threshold_base": "0.05"}),
            ("MSn", {"threshold_kind": "tic", "threshold_tic": "0.5"}),
            ("MSn", {"denoise": True, "denoise_peaks": "4"}),
            ("MSn", {"deisotope": True, "remove_zeros": True}),
            ("MSn", {"polarity": "positive", "activation": "CID", "position-min": "500", "position-max": "900"}),
            ("profile", {"peak_picking": "local", "local_levels": "ms1"}),
            ("profile", {"peak_picking": "local", "local_levels": "msn"}),
            ("profile", {"peak_picking": "cwt", "signal_to_noise": "2.5", "cwt_levels": "msn"}),
        ],
    )
    def test_each_filter_takes_peaks_away(self, job: Job, called: str, changes: dict[str, Any]) -> None:
        (job.input / "called.mzML").write_text(relabelled(called))
        before = spectra_of(job.input / "called.mzML")
        job.succeed(MSCONVERT, spectra=["/x/called.mzML"], **changes)
        after = spectra_of(job.output / "called.mzML")
        assert 0 < sum(map(peaks_of, after)) < sum(map(peaks_of, before))
        levels = changes.get("local_levels") or changes.get("cwt_levels")
        if levels:
            changed = {term(new, "ms level") for old, new in zip(before, after, strict=True) if peaks_of(old) != peaks_of(new)}
            assert changed == {"1" if levels == "ms1" else "2"}

    def test_places_are_counted_after_the_fields_above(self, job: Job) -> None:
        places: dict[str, Any] = {"position-min": "0", "position-max": "4"}
        job.succeed(MSCONVERT, ms_level="2", **places)
        assert [term(one, "ms level") for one in spectra_of(job.output / "BSA1.mzML")] == ["2"] * 5

    def test_centroids_are_left_as_they_are(self, job: Job) -> None:
        job.succeed(MSCONVERT, peak_picking="cwt")
        assert [peaks_of(one) for one in spectra_of(job.output / "BSA1.mzML")] == [
            peaks_of(one) for one in spectra_of(job.input / "BSA1.mzML")
        ]

    def test_any_name_is_kept(self, job: Job, spectra: Path) -> None:
        names = ["a b [1] $x.mzML", "it's & <more>:*.mzML", "-o.v2.mzML"]
        for name in names:
            job.add(name, spectra)
        job.succeed(MSCONVERT, spectra=[f"/x/{name}" for name in names], ms_level="1")
        assert job.results() == sorted(names)

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"spectra": []}, "No spectrum file"),
            ({"spectra": ["/x/absent.mzML"]}, "absent.mzML"),
            ({"polarity": "negative"}, "the filters leave no spectrum"),
            ({"format": "mgf", "ms_level": "1"}, "the filters leave no spectrum"),
        ],
    )
    def test_what_gives_no_spectra_fails_and_says_why(self, job: Job, changes: dict[str, Any], complaint: str) -> None:
        done = job.run(MSCONVERT, **changes)
        assert done.returncode != 0
        assert complaint in done.stderr + done.stdout
        assert job.results() == []

    def test_a_broken_file_fails_also_after_a_good_one(self, job: Job) -> None:
        (job.input / "cut.mzML").write_bytes((job.input / "BSA1.mzML").read_bytes()[:3_000_000])
        assert job.run(MSCONVERT, spectra=["/x/BSA1.mzML", "/x/cut.mzML"]).returncode != 0
        assert job.results() == ["BSA1.mzML"]


SEARCHES = (pytest.param(COMET, marks=needs("comet-ms")), pytest.param(XTANDEM, marks=needs_xtandem))
ODD_NAMES = [
    'R&D "x" <it\'s> [1] | $y.mzML',
    "-o.v2.mzML",
    "a" * 240 + ".mzML",
    "é" * 124 + "ab.mzML",
    " blank .mzML",
]


def searched(job: Job, app_id: str, spectra: Path, *names: str, **changes: Any) -> list[Done]:
    """The runs of an app that takes its files one by one, each in the same folders."""
    for name in map(mzml_name, names):  # as the app gets them
        (job.input / name).unlink(missing_ok=True)
        job.add(name, spectra)
    app = CATALOG.get(app_id)
    form = untouched_form(app_id, **{"spectra": [f"/x/{name}" for name in names], **changes})
    variables = Variables(2, str(job.input), str(job.output), str(job.output.parent / ".cumulus.settings"))
    environment = {**os.environ, "LANG": "C.UTF-8"}
    texts = [run.command for run in render_each(app, form, variables)]
    assert len(texts) == len(names)
    return [subprocess.run(["sh", "-c", text], cwd=job.output, capture_output=True, text=True, env=environment) for text in texts]


def stem(name: str, longest: int) -> str:
    """What results are called that an app's own endings follow: the file's name without its own, cut after so many bytes."""
    return mzml_name(name).removesuffix(".mzML").encode()[:longest].decode(errors="ignore")


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory, spectra: Path) -> Path:
    """The first spectra of the example: enough for each app, quickly."""
    folder = tmp_path_factory.mktemp("few")
    options = ["--filter", "index 560-900", "--outfile", "few.mzML", "-o", str(folder)]
    subprocess.run(["msconvert", str(spectra), *options], check=True, capture_output=True)
    return folder / "few.mzML"


@needs_msconvert
class TestNames:
    """Whatever a file is called, its results are whole, and tell its name."""

    @pytest.mark.parametrize(
        ("app_id", "longest", "endings"),
        [
            pytest.param(MSCONVERT, 250, (".mzML",), marks=needs_msconvert),
            pytest.param(COMET, 240, (".pep.xml", ".txt", ".sqt", ".pin"), marks=needs("comet-ms")),
            pytest.param(XTANDEM, 249, (".t.xml",), marks=needs_xtandem),
            pytest.param(FEATURES, 242, (".featureXML", ".features.tsv"), marks=needs_features),
        ],
    )
    def test_results_of_oddly_named_files_are_well_formed(
        self, job: Job, few: Path, app_id: str, longest: int, endings: tuple[str, ...]
    ) -> None:
        changes: dict[str, Any] = {}
        if app_id in (COMET, XTANDEM):
            job.add('D&B\'s <"db">|.fasta', EXAMPLE / "bsa.fasta")
            changes = {"database": '/x/D&B\'s <"db">|.fasta'}
        if app_id == COMET:
            changes |= {"output_sqt": True, "output_percolator": True}
        for done in searched(job, app_id, few, *ODD_NAMES, **changes):
            assert done.returncode == 0, done.stderr + done.stdout
        expected = {stem(name, longest) + ending for name in ODD_NAMES for ending in endings}
        assert set(job.results()) - {"comet.params"} == expected
        for path in job.output.iterdir():
            if path.suffix.lower().endswith("ml"):
                root = ET.parse(path).getroot()
                told = {value for element in root.iter() for value in (*element.attrib.values(), element.text or "")}
                name = next(name for name in ODD_NAMES if path.name[:5] == name[:5])
                assert any(mzml_name(name).removesuffix(".mzML") in value for value in told), path.name
                assert not [value for value in told if "cumulus-" in value]

    @pytest.mark.parametrize("app_id", SEARCHES)
    def test_proteins_of_odd_names_are_well_formed(self, job: Job, few: Path, app_id: str) -> None:
        header, sequences = (EXAMPLE / "bsa.fasta").read_text().split("\n", 1)
        (job.input / "odd.fasta").write_text(f'>sp|A&B<c"d"e|X some & text\n{sequences}')
        (done,) = searched(job, app_id, few, "a.mzML", database="/x/odd.fasta")
        assert done.returncode == 0
        (result,) = job.output.glob("*.xml")
        names = {value for element in ET.parse(result).getroot().iter() for value in element.attrib.values()}
        assert header.startswith(">")
        assert any(value.startswith(('sp|A&B<c"d"e', "sp|A+B")) for value in names)

    @pytest.mark.parametrize("app_id", SEARCHES)
    def test_a_blank_file_is_rejected_and_others_are_searched(self, job: Job, few: Path, app_id: str) -> None:
        """The app's own exit code says that the input is at fault."""
        blank = job.output.parent / "blank.mzML"
        text = few.read_text()
        begin, end = text.index("<spectrumList"), text.index("</spectrumList>")
        blank.write_text(text[:begin] + '<spectrumList count="0" defaultDataProcessingRef="pwiz_Reader_conversion">' + text[end:])
        (job.input / "blank.mzML").symlink_to(blank)
        searched_well = searched(job, app_id, few, "a.mzML", **DATABASE)
        rejected = job.run(app_id, spectra=["/x/blank.mzML"], **DATABASE)
        assert [done.returncode for done in (*searched_well, rejected)] == [0, 65]
        assert "blank.mzML has no spectra" in rejected.stderr
        assert CATALOG.get(app_id).findings.input_error_codes == (65,)


DATABASE = {"database": "/home/ada/bsa.fasta"}


def albumin_peptides(result: Path) -> set[str]:
    """The peptides that X! Tandem reports for bovine albumin."""
    return {
        domain.get("seq", "")
        for protein in ET.parse(result).getroot().iter("protein")
        if "ALBU_BOVIN" in protein.get("label", "") and ":reversed" not in protein.get("label", "")
        for domain in protein.iter("domain")
    }


def parameters(result: Path) -> dict[str, str]:
    """What X! Tandem says it was told."""
    notes = ET.parse(result).getroot().iter("note")
    return {note.get("label", ""): note.text or "" for note in notes if note.get("type") == "input"}


@needs_xtandem
class TestXTandem:
    def test_an_untouched_form_finds_albumin(self, job: Job) -> None:
        """Its two files are all that has to be given."""
        log = job.succeed(XTANDEM, **DATABASE)
        assert "Valid models = 75\n" in log
        assert job.results() == ["BSA1.t.xml"]
        found = albumin_peptides(job.output / "BSA1.t.xml")
        assert {"HLVDEPQNLIK", "YICDNQDTISSK", "VPQVSTPTLVEVSR", "ECCDKPLLEK"} <= found
        assert len(found) > 20

    def test_what_the_form_says_is_what_it_does(self, job: Job, spectra: Path) -> None:
        name = "it's & <more> [1].mzML"
        job.add(name, spectra)
        job.succeed(
            XTANDEM,
            **DATABASE,
            spectra=[f"/x/{name}"],
            precursor_plus="0.5",
            precursor_unit="da",
            enzyme="lys_c",
            decoys=True,
            refine=True,
            refined_modifications=[["NQ", "0.984016"]],
            fixed_modifications=[["C", "57.021464"], ["K", "8.014199"]],
            variable_modifications=[["STY", "79.966331"], ["n", "42.010565"], ["c", "-0.984016"]],
        )
        told = parameters(job.output / "it's & <more> [1].t.xml")
        expected = {
            "spectrum, parent monoisotopic mass error plus": "0.5",
            "spectrum, parent monoisotopic mass error units": "Daltons",
            "spectrum, threads": "2",
            "protein, cleavage site": "[K]|{P}",
            "scoring, include reverse": "yes",
            "refine": "yes",
            "refine, potential modification mass": "0.984016@N,0.984016@Q",
            "residue, modification mass": "57.021464@C,8.014199@K",
            "residue, potential modification mass": "79.966331@S,79.966331@T,79.966331@Y,42.010565@[,-0.984016@]",
        }
        assert {label: told[label] for label in expected} == expected

    def test_no_parameter_is_unknown_to_it(self, job: Job) -> None:
        job.succeed(XTANDEM, **DATABASE, refine=True)
        told = {note.get("label") for note in ET.parse(job.output.parent / "temp" / "input.xml").getroot()}
        groups = ET.parse(job.output / "BSA1.t.xml").getroot().iter("group")
        unused = next(group for group in groups if group.get("label") == "unused input parameters")
        assert len(told) > 35
        assert {note.get("label") for note in unused} & told == set()

    def test_modifications_change_what_is_found(self, job: Job) -> None:
        job.succeed(XTANDEM, **DATABASE, fixed_modifications=[])
        found = albumin_peptides(job.output / "BSA1.t.xml")
        assert "HLVDEPQNLIK" in found
        assert "YICDNQDTISSK" not in found

    def test_what_msconvert_wrote_as_mgf_finds_the_same_peptides(self, job: Job, tmp_path: Path, spectra: Path) -> None:
        job.succeed(MSCONVERT, format="mgf")
        later = Job(tmp_path / "later", spectra)
        (later.input / "BSA1.mzML").unlink()
        made = conversion("BSA1.mgf")
        assert made is not None
        places = {"{source}": str(job.output / "BSA1.mgf"), "{folder}": str(later.input), "{name}": made.target}
        subprocess.run([places.get(word, word) for word in made.command], check=True, capture_output=True)
        later.succeed(XTANDEM, **DATABASE, spectra=["%job_dir_0%/output/BSA1.mgf"])
        assert {"HLVDEPQNLIK", "YICDNQDTISSK"} <= albumin_peptides(later.output / "BSA1.t.xml")

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"spectra": []}, "No spectrum file"),
            ({"spectra": ["/x/absent.mzML"]}, "absent.mzML is not there"),
            ({"database": ""}, "No protein database"),
            ({"database": "/x/absent.fasta"}, "absent.fasta"),
            ({"fixed_modifications": [["C<", "1"]]}, "C< is not a list of residues"),
            ({"variable_modifications": [["M&", "1"]]}, "M& is not a list of residues"),
            ({"variable_modifications": [["M", "1e2"]]}, "1e2 is not a mass"),
            ({"minimum_peaks": "1000"}, "has no spectra to search"),
        ],
    )
    def test_a_search_that_cannot_be_done_fails_and_says_why(self, job: Job, changes: dict[str, Any], complaint: str) -> None:
        done = job.run(XTANDEM, **{**DATABASE, **changes})
        assert done.returncode != 0
        assert complaint in done.stderr + done.stdout
        assert job.results() == []

    def test_a_file_without_spectra_is_no_success(self, job: Job) -> None:
        (job.input / "none.mzML").write_text('<?xml version="1.0"?>\n<mzML></mzML>\n')
        assert job.run(XTANDEM, **DATABASE, spectra=["/x/none.mzML"]).returncode != 0
        assert job.results() == []


@needs_features
class TestFeatureFinder:
    def test_an_untouched_form_finds_a_known_peptide(self, job: Job) -> None:
        """HLVDEPQNLIK has the mass 1304.709 Da; with two protons its m/z is 653.362."""
        assert "features found" in job.succeed(FEATURES)
        assert job.results() == ["BSA1.featureXML", "BSA1.features.tsv"]
        lines = (job.output / "BSA1.features.tsv").read_text().splitlines()
        columns = next(line for line in lines if line.startswith("#FEATURE")).split("\t")
        rows = [dict(zip(columns, line.split("\t"), strict=False)) for line in lines if line.startswith("FEATURE")]
        assert len(rows) > 500
        assert any(abs(float(row["mz"]) - 653.362) < 0.01 and row["charge"] == "2" for row in rows)
        assert len(list(ET.parse(job.output / "BSA1.featureXML").getroot().iter("feature"))) >= len(rows)

    def test_settings_count_and_any_name_is_kept(self, job: Job, spectra: Path) -> None:
        name = "it's & <more> [1].mzML"
        job.add(name, spectra)
        charge: dict[str, Any] = {"charge-min": "2", "charge-max": "2"}
        job.succeed(FEATURES, spectra=[f"/x/{name}"], table=False, seed_score="0.95", shape="asymmetric", **charge)
        assert job.results() == ["it's & <more> [1].featureXML"]
        found = ET.parse(job.output / job.results()[0]).getroot().iter("feature")
        assert {feature.findtext("charge") for feature in found} == {"2"}

    def test_fragment_spectra_alone_or_a_broken_file_is_no_success(self, job: Job, tmp_path: Path) -> None:
        job.succeed(MSCONVERT, ms_level="2")
        (job.output / "BSA1.mzML").rename(job.input / "fragments.mzML")
        (job.input / "broken.mzML").write_text("no spectra\n")
        for name in ("fragments.mzML", "broken.mzML", "absent.mzML"):
            assert job.run(FEATURES, spectra=[f"/x/{name}"]).returncode != 0, name
        assert job.results() == []
