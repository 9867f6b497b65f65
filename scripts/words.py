"""Finds words that the project no longer uses: ``.venv/bin/python -m scripts.words [--renew]``.

``words.toml`` has the words, ``words-baseline.txt`` how often each file still has one that was not renamed yet. A file may have
no more than that. ``--renew`` writes the baseline anew where no word has become more frequent: text may move between files.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
WORDS, BASELINE = Path("scripts/words.toml"), Path("scripts/words-baseline.txt")
CODE = ("server/", "agent/", "programs/", "scripts/")
NOT_OURS = ("docs/reliability.md", "CHANGELOG.md")  # written by the tests; what was said of a version stays said
PARTS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
FENCES = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
KEY = re.compile(r"\w+")  # of a table or a format: no prose
Key = tuple[str, str]  # a file, a rule


@dataclass(frozen=True)
class Rule:
    """A word that is not used, what is used instead and why. ``files``: prefixes that it is for, ``allow``: where it may stay."""

    kind: str
    old: str
    new: str
    why: str
    files: tuple[str, ...] = ("",)
    allow: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """How the baseline calls it."""
        return f"{self.kind}:{self.old}"

    def is_for(self, path: str) -> bool:
        """Whether it counts in this file."""
        return path.startswith(self.files) and not path.startswith(self.allow or ("\0",))

    def is_in(self, text: str) -> bool:
        """Whether a name, or a line of prose, has the word."""
        if self.kind == "name":
            return self.old in [part.lower() for part in PARTS.findall(text)]
        if self.kind in ("module", "class"):
            return self.old == text
        return re.search(rf"(?<!\w)(?:{self.old})(?!\w)", text, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Found:
    """A word in a file."""

    path: str
    line: int
    text: str
    rule: Rule

    def __str__(self) -> str:
        where, rule = f"{self.path}:{self.line}: {self.text.strip()[:60]!r}", self.rule
        return f"{where}: instead of {rule.old!r}: {rule.new} ({rule.why})"


def read_rules(text: str) -> list[Rule]:
    """The rules in the form of ``words.toml``."""
    made = []
    for kind, entries in tomllib.loads(text).items():
        for entry in entries:
            files, allow = tuple(entry.get("files", ("",))), tuple(entry.get("allow", ()))
            made.append(Rule(kind, entry["old"], entry["new"], entry["why"], files, allow))
    return made


def classes(source: str) -> Iterator[tuple[int, str]]:
    """The classes of a program, with their lines."""
    return ((node.lineno, node.name) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef))


def names(source: str) -> Iterator[tuple[int, str]]:
    """The names that a program defines, with their lines."""
    yield from classes(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def prose(path: str, source: str) -> Iterator[tuple[int, str]]:
    """The lines of comments, docstrings and texts of a program, or of a page without its code."""
    if path.endswith(".md"):
        bare = FENCES.sub(lambda block: "\n" * block[0].count("\n"), source)
        yield from enumerate(re.sub(r"`[^`\n]*`", "", bare).split("\n"), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):  # tokens of texts with values in them differ between versions of Python
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not KEY.fullmatch(node.value):
            yield from enumerate(node.value.split("\n"), node.lineno)


def find(path: str, source: str, rules: Iterable[Rule]) -> Iterator[Found]:
    """What a file has of the words."""
    mine = [rule for rule in rules if rule.is_for(path)]
    kinds = {"prose": prose(path, source)}
    if path.endswith(".py"):
        own = Path(path).parent.name if path.endswith("/__init__.py") else Path(path).stem
        kinds |= {"module": iter([(1, own)]), "class": classes(source), "name": chain([(1, own)], names(source))}
    for kind, lines in kinds.items():
        fitting = [rule for rule in mine if rule.kind == kind]
        for line, text in lines:
            yield from (Found(path, line, text, rule) for rule in fitting if rule.is_in(text))


def files(root: Path) -> list[str]:
    """What is looked at: our programs and pages, as git knows them or is about to."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.md"]
    paths = sorted(set(subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout.split("\n")))
    pages = [path for path in paths if path.endswith(".md") and not path.startswith("infra/ansible/roles/")]
    programs = [path for path in paths if path.endswith(".py") and path.startswith(CODE)]
    return [path for path in (*pages, *programs) if path not in NOT_OURS and (root / path).is_file()]


def counted(found: Iterable[Found]) -> Counter[Key]:
    """How often each file has each word."""
    return Counter((one.path, one.rule.title) for one in found)


def read_baseline(text: str) -> Counter[Key]:
    """The counts in the form of ``words-baseline.txt``."""
    rows = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return Counter({(path, title): int(count) for count, title, path in rows})


def grown(now: Counter[Key], before: Counter[Key]) -> list[str]:
    """The words that are more frequent than they were, all files together."""
    totals: Counter[str] = Counter()
    for (_, title), count in now.items():
        totals[title] += count
    for (_, title), count in before.items():
        totals[title] -= count
    return sorted(title for title, more in totals.items() if more > 0)


def written(now: Counter[Key]) -> str:
    """The text of a baseline."""
    head = (
        "# Words that are still in use, by file; may only become fewer. Written by: .venv/bin/python -m scripts.words --renew\n"
    )
    return head + "".join(f"{count}\t{title}\t{path}\n" for (path, title), count in sorted(now.items()))


def main(*arguments: str, root: Path = CHECKOUT) -> int:
    """Exit code: 0 where no file has more of the words than before, 1 where one has."""
    rules = read_rules((root / WORDS).read_text())
    found = [one for path in files(root) for one in find(path, (root / path).read_text(), rules)]
    now, known = counted(found), root / BASELINE
    before = read_baseline(known.read_text()) if known.exists() else now
    if "--renew" in arguments:
        if more := grown(now, before):
            print(f"not renewed, more frequent than before: {', '.join(more)}", file=sys.stderr)
            return 1
        known.write_text(written(now))
        return 0
    new = [one for one in found if now[one.path, one.rule.title] > before[one.path, one.rule.title]]
    for one in new:
        print(one)
    if not new and now != before:
        print("words have become fewer: .venv/bin/python -m scripts.words --renew")
        return 1
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
