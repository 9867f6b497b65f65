"""From the client's paths to this computer's and to rsync's, by tables; no file is touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import InvalidInput
from agent.sources.paths import Named, Root, base_name, for_rsync, job_folder, locate, parent, parse

PARSED = [
    ("/srv/data/a.raw", Named("/", ("srv", "data", "a.raw"))),
    ("/srv//data/a.d/", Named("/", ("srv", "data", "a.d"))),
    (r"/srv/back\slash", Named("/", ("srv", r"back\slash"))),
    ("C:/Data/a.raw", Named("C:/", ("Data", "a.raw"))),
    (r"c:\Data\a.raw", Named("C:/", ("Data", "a.raw"))),
    (r"C:\Data/mixed\a.raw", Named("C:/", ("Data", "mixed", "a.raw"))),
    ("//nas/share/a.raw", Named("//nas/share/", ("a.raw",))),
    (r"\\nas\share\run 1\a.d", Named("//nas/share/", ("run 1", "a.d"))),
    (r"//nas\share/a.raw", Named("//nas/share/", ("a.raw",))),
    ('/data/it\'s "q" é\n', Named("/", ("data", 'it\'s "q" é\n'))),
    ("/data/-rf", Named("/", ("data", "-rf"))),
    ("/data/a:b", Named("/", ("data", "a:b"))),
]
REFUSED = [
    "",
    "a.raw",
    "../a.raw",
    "./a.raw",
    "C:a.raw",
    "C:",
    "~/a.raw",
    "host:/a.raw",
    "rsync://host/a",
    "/srv/../etc/shadow",
    "/srv/./a",
    r"C:\Data\..\Windows",
    "//nas",
    "//nas/",
    "//../share/a",
    "//nas/../a",
    r"\\?\C:\a",
    r"\\.\PhysicalDrive0",
    "//?/C:/a",
    "/srv/a\0b",
    "/srv/" + "x" * 256,
    "/srv/" + "é" * 128,
    "/" + "/x" * 3000,
    "/srv/\ud800",
]
LINUX = (
    Root("/srv/instruments", (parse("/srv/instruments"), parse("Z:/"), parse("//nas/instruments"))),
    Root("/home/lab/files", (parse("/home/lab/files"),)),
)
WINDOWS = (
    Root("D:/Data", (parse("D:/Data"), parse(r"\\pc1\data"))),
    Root(r"\\nas\share", (parse("//nas/share"), parse("X:/raw"))),
)
LOCATED = [
    (LINUX, "/srv/instruments/a.raw", "/srv/instruments/a.raw"),
    (LINUX, "/home/lab/files/x/y.txt", "/home/lab/files/x/y.txt"),
    (LINUX, r"Z:\2026\a.d", "/srv/instruments/2026/a.d"),
    (LINUX, "z:/2026/a.d", "/srv/instruments/2026/a.d"),
    (LINUX, "//NAS/Instruments/2026/a.d", "/srv/instruments/2026/a.d"),
    (WINDOWS, "d:/data/run 1/a.raw", r"D:\Data\run 1\a.raw"),
    (WINDOWS, r"\\PC1\DATA\a.raw", r"D:\Data\a.raw"),
    (WINDOWS, "//nas/share/a.raw", r"\\nas\share\a.raw"),
    (WINDOWS, "X:/RAW/b.raw", r"\\nas\share\b.raw"),
]
OUTSIDE = [
    (LINUX, "/srv/instruments"),
    (LINUX, "/srv/instruments2/a.raw"),
    (LINUX, "/SRV/instruments/a.raw"),
    (LINUX, "/etc/shadow"),
    (LINUX, "Y:/a.raw"),
    (LINUX, "//nas/other/a.raw"),
    (WINDOWS, "C:/Windows/a"),
    (WINDOWS, "D:/Data2/a"),
    (WINDOWS, "/cygdrive/c/a"),
]
FOR_RSYNC = [
    ("/srv/a b", "/srv/a b"),
    (r"C:\Data\a.raw", "/cygdrive/c/Data/a.raw"),
    ("D:/x y/é.d", "/cygdrive/d/x y/é.d"),
    ("C:\\", "/cygdrive/c"),
    (r"\\nas\share\x\a.raw", "//nas/share/x/a.raw"),
]
FOLDERS = ["Job_7_me_app_1", "Job_7_a.b-c_app_2.0_1700000000"]
NO_FOLDERS = [
    "",
    "message",
    "Job_8_me_app_1",
    "Job_7",
    "Job_07_me",
    "Job_7_../x",
    "Job_7_a/b",
    "Job_7_a\nb",
    "Job_7_é",
    "../Job_7_a",
    "Job_7_a b",
]


@pytest.mark.parametrize(("text", "expected"), PARSED)
def test_a_path_is_read_whatever_way_its_slashes_lean(text: str, expected: Named) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_absolute_path_is_refused_by_the_field(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text, field="local_files")
    assert caught.value.field == "local_files"


@pytest.mark.parametrize(("roots", "text", "expected"), LOCATED)
def test_a_clients_path_becomes_one_of_this_computer(roots: tuple[Root, ...], text: str, expected: str) -> None:
    assert locate(text, roots) == expected


@pytest.mark.parametrize(("roots", "text"), OUTSIDE)
def test_a_path_below_no_root_is_refused(roots: tuple[Root, ...], text: str) -> None:
    with pytest.raises(InvalidInput):
        locate(text, roots)


@pytest.mark.parametrize(("path", "expected"), FOR_RSYNC)
def test_rsync_gets_paths_of_windows_as_cygwin_writes_them(path: str, expected: str) -> None:
    assert for_rsync(path) == expected


@pytest.mark.parametrize("name", FOLDERS)
def test_a_jobs_folder_is_taken(name: str) -> None:
    assert job_folder(name, 7) == name


@pytest.mark.parametrize("name", NO_FOLDERS)
def test_anything_else_is_no_jobs_folder(name: str) -> None:
    with pytest.raises(InvalidInput):
        job_folder(name, 7)


def test_names_and_folders_are_those_of_the_computer() -> None:
    assert (base_name(r"D:\Data\a.d"), parent(r"D:\Data\a.d")) == ("a.d", r"D:\Data")
    assert (base_name(r"/srv/b\c"), parent(r"/srv/b\c")) == (r"b\c", "/srv")


def test_a_name_of_cumulus_own_is_refused() -> None:
    with pytest.raises(InvalidInput):
        base_name("/srv/.cumulus.rsync")


@given(st.text(st.characters(exclude_characters="\0")))
def test_no_path_leads_out_of_its_root(text: str) -> None:
    try:
        found = locate(f"/srv/instruments/{text}", LINUX)
    except InvalidInput:
        return
    parts = found.split("/")
    assert parts[:3] == ["", "srv", "instruments"]
    assert not {"..", "."} & set(parts)
