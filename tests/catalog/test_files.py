import ntpath
import posixpath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from server.catalog.files import CONVERTIBLE, base_name, mzml_name, read_formats
from server.errors import InvalidInput


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (r"C:\x\y.raw", "y.raw"),
        ("C:/x/y.raw", "y.raw"),
        (r"C:\x/y.raw", "y.raw"),
        ("C:y.raw", "y.raw"),
        ("//server/share/y.raw", "y.raw"),
        (r"\\server\share\a b\y.raw", "y.raw"),
        (r"\\?\C:\x\y.raw", "y.raw"),
        ("/home/ada/y.raw", "y.raw"),
        ("y.raw", "y.raw"),
        ("C:\\x\\my.data.d\\", "my.data.d"),
        ("/x/my.data.d/", "my.data.d"),
        ("//server/share/my.d//", "my.d"),
        ("/x/-rf", "-rf"),
        ("/x/.hidden", ".hidden"),
        ("/x/...", "..."),
        ("/x/a'b $(c) é🧬.raw", "a'b $(c) é🧬.raw"),
        ("/x/" + "é" * 127, "é" * 127),
        ("/x/1 < 2 & 3<4.raw", "1 < 2 & 3<4.raw"),
    ],
)
def test_the_last_name_of_a_path_of_any_system_is_found(path: str, name: str) -> None:
    assert base_name(path) == name


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "///",
        "\\",
        "C:",
        "C:\\",
        ".",
        "..",
        "/x/.",
        "/x/..",
        "C:\\x\\..",
        "C:..",
        "/x/../",
        "/x/a\nb",
        "/x/a\0b",
        "/x/a\x1b[31m",
        "/x/a\x7f",
        "/x/a\x9b",
        "/x/a\u2028b",
        "/x/a\\b",
        "/x/.cumulus.cmd",
        "C:\\.cumulus.settings",
        "/x/.cumulus.",
        "/x/.upload.0a1b2c",
        "/x/" + "a" * 256,
        "/x/" + "é" * 128,
        "/x/\ud800",
        "/" + "a/" * 100_000,
    ],
)
def test_what_names_no_file_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        base_name(path)


@given(st.text(max_size=60))
def test_a_name_never_leads_out_of_its_folder(path: str) -> None:
    try:
        name = base_name(path)
    except InvalidInput:
        return
    assert name not in ("", ".", "..")
    assert not set("/\\\0\n") & set(name)
    assert posixpath.normpath(f"/input/{name}") == f"/input/{name}"


names = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"], exclude_characters="/\\:"), min_size=1, max_size=40
)


@given(folder=names, name=names)
def test_a_windows_path_gives_what_windows_finds(folder: str, name: str) -> None:
    assume(name.strip(".") and not name.startswith(".cumulus."))
    path = f"C:\\{folder}\\{name}"
    assert base_name(path) == ntpath.basename(path) == base_name(f"/{name}")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a.raw", "a.mzML"),
        ("a.RAW", "a.mzML"),
        ("my.data.d", "my.data.mzML"),
        ("a.d.d", "a.d.mzML"),
        ("a.mzML.gz", "a.mzML"),
        ("a.MZML.GZ", "a.mzML"),
        ("a.raw.mzML.gz", "a.raw.mzML"),
        ("a.mzML", "a.mzML"),
        ("a.mzml", "a.mzML"),
        ("a.mzXML", "a.mzML"),
        ("a.mgf", "a.mzML"),
        ("a.txt", "a.txt"),
        ("raw", "raw"),
        (".d", ".d"),
        (".mzML.gz", ".mzML.gz"),
    ],
)
def test_conversion_changes_the_last_ending_only(name: str, target: str) -> None:
    assert mzml_name(name) == target


@given(stem=names, ending=st.sampled_from(CONVERTIBLE))
def test_a_converted_name_keeps_its_stem(stem: str, ending: str) -> None:
    assert mzml_name(stem + ending) == f"{stem}.mzML"


def test_formats_are_separated_by_semicolons() -> None:
    assert read_formats("mzML; .mzML.gz;;raw ;") == ("mzML", "mzML.gz", "raw")
    assert read_formats("") == ()
