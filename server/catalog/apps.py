"""All that can be run: the folder of app and workflow XML, read again where a file changed.

Owns which files count and which problems they have. A broken file is reported and hides no other one.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from programs.regular import read_regular
from server.catalog.model import App, Workflow
from server.catalog.reading import read_app, read_workflow
from server.catalog.workflows import unfit_presets
from server.catalog.xml import MAX_FILE_BYTES, BadXml, Schemas, read_document
from server.errors import NotFound
from server.settings import CHECKOUT

__all__ = ["App", "AppFile", "Catalog", "CatalogProblem", "Workflow"]

SCHEMAS = CHECKOUT / "apps"
INSPECT_INTERVAL_S = 1.0
_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class CatalogProblem:
    """Why a file, or something in it, cannot be used. ``line`` is 0 where it is about the whole file."""

    file: Path
    line: int
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{where}: {self.reason}"


@dataclass(frozen=True)
class AppFile:
    """An app, and the SHA-256 (hex) of the file as it was when the app was read from it."""

    app: App
    sha256: str


@dataclass(frozen=True)
class _File:
    """A file as it was when it had this stamp; ``entry`` is None where it is broken."""

    stamp: _Stamp
    entry: App | Workflow | None
    text: str
    problems: tuple[CatalogProblem, ...]
    sha256: str = ""


@dataclass(frozen=True)
class _Contents:
    apps: dict[str, App]
    workflows: dict[str, Workflow]
    texts: dict[str, str]
    checksums: dict[str, str]
    problems: tuple[CatalogProblem, ...]


def parsed(text: str) -> App:
    """An app from its XML, as :meth:`Catalog.texts` has it. Raises BadXml."""
    return read_app(read_document(text.encode(), Schemas(SCHEMAS)).root)


def parsed_workflow(text: str) -> Workflow:
    """The same for a workflow. Raises BadXml."""
    return read_workflow(read_document(text.encode(), Schemas(SCHEMAS)).root)


class Catalog:
    """The apps and workflows of one folder. Safe to be used from several threads."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        schemas: Path = SCHEMAS,
        report: Callable[[CatalogProblem], None] = lambda _: None,
    ) -> None:
        """``clock``: seconds; the folder is inspected once a second at most. ``report`` is called with each problem once."""
        self._folder = folder
        self._clock = clock
        self._report = report
        self._schemas = Schemas(schemas)
        self._lock = threading.Lock()
        self._files: dict[Path, _File] = {}
        self._contents = _Contents({}, {}, {}, {}, ())
        self._inspected: float | None = None

    def apps(self) -> dict[str, App]:
        """The apps by id, in the order of their files' names."""
        return dict(self._current().apps)

    def workflows(self) -> dict[str, Workflow]:
        """The workflows by id."""
        return dict(self._current().workflows)

    def get(self, app_id: str) -> App:
        """An app. Raises NotFound."""
        return self.file_of(app_id).app

    def file_of(self, app_id: str) -> AppFile:
        """An app with the checksum of its file, both as of one moment: the file may change at any time. Raises NotFound."""
        contents = self._current()
        app = contents.apps.get(app_id)
        if app is None:
            raise NotFound(f"there is no app {app_id[:100]!r}", field="app")
        return AppFile(app, contents.checksums[app_id])

    def texts(self) -> dict[str, str]:
        """The XML of all apps and workflows by id, each beginning with its root element."""
        return dict(self._current().texts)

    def checksum(self, app_id: str) -> str:
        """SHA-256 of the app's file, in hex, as ``sha256sum`` prints it; "" where there is no such app."""
        return self._current().checksums.get(app_id, "")

    def problems(self) -> list[CatalogProblem]:
        """All that is wrong with files of the folder."""
        return list(self._current().problems)

    def warnings(self) -> list[CatalogProblem]:
        """What is wrong with files that can be used all the same: presets of workflows that fit no parameter."""
        found = self._current()
        with self._lock:
            paths = {file.entry.id: path for path, file in self._files.items() if file.entry}
        return [
            CatalogProblem(paths.get(workflow.id, self._folder), line, reason)
            for workflow in found.workflows.values()
            for line, reason in unfit_presets(workflow, found.apps)
        ]

    def version_commands(self) -> list[tuple[str, str]]:
        """(app id, shell text that exits with 0 and prints the program's version) of each app that has one."""
        return [(app.id, app.version_command) for app in self._current().apps.values() if app.version_command]

    def optional_programs(self) -> dict[str, str]:
        """App id and program of each app that the machines may lack, for its licence."""
        return {app.id: app.program for app in self._current().apps.values() if app.program}

    def _current(self) -> _Contents:
        with self._lock:
            now = self._clock()
            if self._inspected is None or not 0 <= now - self._inspected < INSPECT_INTERVAL_S:
                self._inspected = now
                known = set(self._contents.problems)
                self._inspect()
                for problem in self._contents.problems:
                    if problem not in known:
                        self._report(problem)
            return self._contents

    def _inspect(self) -> None:
        try:
            stamps = dict(_stamps(self._folder))
        except OSError as error:
            self._files = {}
            problem = CatalogProblem(self._folder, 0, f"the folder of apps cannot be read: {error.strerror}")
            self._contents = _Contents({}, {}, {}, {}, (problem,))
            return
        self._files = {path: self._file(path, stamp) for path, stamp in sorted(stamps.items())}
        self._contents = _collect(self._files)

    def _file(self, path: Path, stamp: _Stamp) -> _File:
        known = self._files.get(path)
        if known is not None and known.stamp == stamp:
            return known
        try:
            content = read_regular(path, MAX_FILE_BYTES, follow=True)
            document = read_document(content, self._schemas)
            entry = read_app(document.root) if document.root.tag == "tool" else read_workflow(document.root)
        except OSError as error:
            leads_nowhere = isinstance(error, FileNotFoundError) and path.is_symlink()
            why = "is a link that leads to no file" if leads_nowhere else error.strerror
            return _File(stamp, None, "", (CatalogProblem(path, 0, f"cannot be read: {why}"),))
        except BadXml as error:
            return _File(stamp, None, "", tuple(CatalogProblem(path, line, reason) for line, reason in error.problems))
        return _File(stamp, entry, document.text, (), hashlib.sha256(content).hexdigest())


def _stamps(folder: Path) -> Iterator[tuple[Path, _Stamp]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".xml") and not entry.name.startswith("."):
                yield Path(entry.path), _stamp(entry)


def _stamp(entry: "os.DirEntry[str]") -> _Stamp:
    """When a file was changed, its size and its number; zeros for a link that leads nowhere."""
    try:
        found = entry.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino


def _collect(files: dict[Path, _File]) -> _Contents:
    """The files put together: the first of two with one id counts, workflows of known apps only."""
    contents = _Contents({}, {}, {}, {}, ())
    problems = [problem for file in files.values() for problem in file.problems]
    first: dict[str, Path] = {}
    for path, file in _apps_first(files.items()):
        if file.entry is None:
            continue
        if problem := _problem(file.entry, contents, first):
            problems.append(CatalogProblem(path, 1, problem))
            continue
        first[file.entry.id] = path
        contents.texts[file.entry.id] = file.text
        contents.checksums[file.entry.id] = file.sha256
        if isinstance(file.entry, App):
            contents.apps[file.entry.id] = file.entry
        else:
            contents.workflows[file.entry.id] = file.entry
    return replace(contents, problems=tuple(sorted(problems, key=lambda p: (p.file, p.line))))


def _apps_first(files: Iterable[tuple[Path, _File]]) -> list[tuple[Path, _File]]:
    return sorted(files, key=lambda item: (isinstance(item[1].entry, Workflow), item[0]))


def _problem(entry: App | Workflow, contents: _Contents, first: dict[str, Path]) -> str | None:
    if entry.id in first:
        return f"the id {entry.id} is used by {first[entry.id].name} already"
    if isinstance(entry, Workflow):
        unknown = sorted({step.app for step in entry.steps} - contents.apps.keys())
        if unknown:
            return f"the workflow uses apps that are not there: {', '.join(unknown)}"
    return None
