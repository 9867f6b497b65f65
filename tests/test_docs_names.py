"""Whatever of ours the documentation names is there: paths, classes with their members, headings; contents are whole."""

import ast
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from scripts import drawings
from server.settings import CHECKOUT

RUNNER = CHECKOUT / "infra" / "ansible" / "roles" / "worker_base" / "files"
PAGES = sorted(
    {*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("examples/**/*.md")} - {CHECKOUT / "CHANGELOG.md"}
)
CODE_PAGES = [path for path in PAGES if path.name in {"architecture.md", "CONTRIBUTING.md", "adding-a-cloud.md"}]
PICTURES = sorted((CHECKOUT / "docs" / "img").glob("*.svg"))
LONG = 120  # lines of a page that needs a table of contents
WORDS = re.compile(r"`([^`\n]+)`")
MEMBER = re.compile(r"\b_?([A-Z][a-z]+(?:[A-Z][a-z]+)*)\.([a-z_]+)\b")
CLASS = re.compile(r"^([A-Z][a-z]+(?:[A-Z][a-z]+)+)$")
FOREIGN = {"BaseModel", "NoNewPrivileges", "LocalState", "WatchdogSec", "ThreadPoolExecutor"}


def name(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def words(page: Path) -> Iterator[str]:
    """What stands in code spelling, outside blocks of code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    yield from WORDS.findall(text)


@cache
def paths() -> frozenset[str]:
    """The files of the checkout, as git knows them or is about to, and their folders."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.splitlines()
    there = [file for file in files if (CHECKOUT / file).exists()]
    return frozenset(there) | {str(folder) for file in there for folder in Path(file).parents}


@cache
def top_level() -> frozenset[str]:
    return frozenset(path.partition("/")[0] for path in paths() if "/" in path)


@cache
def classes() -> dict[str, set[str]]:
    """Each class of ours with the names of its members."""
    found: dict[str, set[str]] = {}
    sources = [
        path for folder in ("server", "agent", "programs", "scripts", "tests") for path in (CHECKOUT / folder).rglob("*.py")
    ]
    for path in (*sources, *RUNNER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(members(node))
    return found


def members(node: ast.ClassDef) -> Iterator[str]:
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            yield part.name
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id
        elif isinstance(part, ast.Assign):
            yield from (target.id for target in part.targets if isinstance(target, ast.Name))


def is_path_of_ours(word: str) -> bool:
    return bool(re.fullmatch(r"[\w./<>*-]+", word)) and (
        (word.partition("/")[0] in top_level() and "/" in word) or word.endswith(".py")
    )


def exists(word: str) -> bool:
    """Whether a path is there: whole, or its end. ``<name>`` and ``NAME`` stand for any name."""
    pattern = re.sub(r"<\w+>|\bNAME\b", "*", word).rstrip("/")
    return any(fnmatch(path, pattern) or fnmatch(path, f"*/{pattern}") for path in paths())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    assert [word for word in words(page) if is_path_of_ours(word) and not exists(word)] == []


@pytest.mark.parametrize("gone", ["server/jobs/service.py", "jobs/troubles.py", "notices.py", "server/commands/"])
def test_a_path_that_is_gone_is_noticed(gone: str) -> None:
    assert is_path_of_ours(gone)
    assert not exists(gone)


@pytest.mark.parametrize("there", ["infra/terraform/<cloud>/worker", "tests/workers/clouds/NAME/", "engine/loop.py", "loop.py"])
def test_the_end_of_a_path_will_do(there: str) -> None:
    assert exists(there)


def unknown_names(text: str) -> list[str]:
    lacking = [f"{owner}.{member}" for owner, member in MEMBER.findall(text) if member not in classes().get(owner, ())]
    return lacking + [found for found in CLASS.findall(text) if found not in classes() and found not in FOREIGN]


@pytest.mark.parametrize("page", CODE_PAGES, ids=name)
def test_every_class_and_member_that_a_page_names_exists(page: Path) -> None:
    assert [lacking for word in words(page) for lacking in unknown_names(word)] == []


def test_every_name_in_the_drawings_exists() -> None:
    labels = [where for *_, where in drawings.STEPS]
    assert [lacking for label in labels for lacking in unknown_names(label)] == []
    assert unknown_names("JobService.vanish") == ["JobService.vanish"]
    assert unknown_names("VanishedThing") == ["VanishedThing"]


def test_the_drawings_are_those_of_their_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "IMAGES", tmp_path)
    drawings.main()
    for drawn in tmp_path.iterdir():
        assert drawn.read_text() == (CHECKOUT / "docs" / "img" / drawn.name).read_text(), "run python -m scripts.drawings"


def headings(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#{1,4} (.+)$", text, re.MULTILINE)


def anchor(heading: str) -> str:
    """As GitHub and GitLab make it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_to_headings_lead_to_one(page: Path) -> None:
    for target, fragment in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        aim = page.parent / target if target else page
        assert fragment in {anchor(heading) for heading in headings(aim)}, f"{page.name} links to {target}#{fragment}"


@pytest.mark.parametrize("page", [page for page in PAGES if len(page.read_text().splitlines()) > LONG], ids=name)
def test_a_long_page_begins_with_its_contents(page: Path) -> None:
    parts = re.findall(r"^## (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    beginning = page.read_text().partition("\n## ")[0]
    assert re.findall(r"^- \[.+?\]\(#(.+?)\)", beginning, re.MULTILINE) == [anchor(part) for part in parts]


@pytest.mark.parametrize("page", [*PAGES, CHECKOUT / "CHANGELOG.md"], ids=name)
def test_links_to_files_lead_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_changelog_has_each_version_with_its_date_and_what_is_not_released_yet() -> None:
    first, *versions = re.findall(r"^## (.+)$", (CHECKOUT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}", one) for one in versions)
    assert versions[0].partition(" ")[0] == version("cumulus")
