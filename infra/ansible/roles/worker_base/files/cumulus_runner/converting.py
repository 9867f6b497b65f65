"""One input becomes what the app can read: by a converter, or by our own rewriting.

Owns that whatever was made is judged before anybody gets it.
"""

from __future__ import annotations

import os
import re
import shutil
import time

from cumulus_runner.errors import StageFailed, Stopped
from cumulus_runner.folder import JobFolder
from cumulus_runner.inspecting import Progress, size_of
from cumulus_runner.inspection import FASTA, MGF, MZML, OTHER, Fault, Finding, inspect
from cumulus_runner.journal import Journal
from cumulus_runner.lines import STDERR, harmless
from cumulus_runner.orders import Input, Places, Plan
from cumulus_runner.programs import Account, Attendance, Program, StopRequest, environment, is_short_of_space
from cumulus_runner.report import Report
from cumulus_runner.watch import Watches

MADE = "converted.mzML"  # a name of our own, and short: a converter may make others of it
HEAD = 64 * 1024
TAIL = 8192
LOGGED_LINES = 20
QUOTED_LINES = 3
GZ = ".gz"
# What an app is taken to read where its XML does not say. An index that does not fit is never good for anything.
USUALLY_READ = {
    MZML: frozenset({"zlib", "any-ids"}),
    FASTA: frozenset({"lower-case"}),
    MGF: frozenset({"empty-charge", "comments"}),
}
_SOFTWARE = re.compile(rb"<software\b([^>]*)>")


class ConversionFailed(StageFailed):
    """Another try may do better."""


def unread(one: Input, finding: Finding) -> frozenset[str]:
    """What a file has that its app does not read."""
    if one.accepts is None:
        return finding.features - USUALLY_READ.get(finding.kind, frozenset())
    return finding.features - frozenset(one.accepts)


class Converter:
    """Converts one job's inputs, several at once."""

    def __init__(
        self,
        plan: Plan,
        places: Places,
        journal: Journal,
        user: Account | None,
        stop: StopRequest,
        report: Report,
        watches: Watches,
    ) -> None:
        self._plan = plan
        self._places = places
        self._journal = journal
        self._user = user
        self._stop = stop
        self._report = report
        self._watches = watches
        self._folder = JobFolder(places.job)

    def convert(self, number: int, one: Input, source: str, finding: Finding, target: str) -> None:
        """Make ``target`` of the input with this number. Raises StageFailed, Stopped, OSError."""
        begin = time.monotonic()
        try:
            made, product = self._make(number, one, source, finding)
        except ConversionFailed as failure:
            self._journal.server(f"{failure}. It is tried once more")
            made, product = self._make(number, one, source, finding)
        os.rename(made, target)
        self._clear(number)
        self._journal.server(f"converted {one.name} to {one.target} in {time.monotonic() - begin:.1f} s")
        self._tell(one, target, product)
        if one.keep:
            self._keep(number, one, target)

    def rewrite(self, one: Input, source: str, finding: Finding, target: str) -> None:
        """Write text anew as the app reads it. Raises Stopped, OSError."""
        words = unread(one, finding)
        part = os.path.join(self._places.work, "rewritten.part")
        self._rewritten(one, source, finding.kind, part, words)
        os.rename(part, target)
        entry = {"source": one.name, "target": one.target, "command": "rewritten by Cumulus", "version": ""}
        self._report.conversions.append(entry)

    def _make(self, number: int, one: Input, source: str, finding: Finding) -> tuple[str, Finding]:
        """What was made, where it lies and what it is."""
        command = one.convert or one.rewrite or ()
        made, product = self._made(number, one, command, source, finding)
        if one.rewrite and (words := unread(one, product)):  # what a converter makes may need another one
            self._journal.server(f"{one.name}: what was made of it is converted once more ({_listed(words)})")
            first = os.path.join(self._places.work, f"first-{number}.mzML")
            os.replace(made, first)
            made, product = self._made(number, one, one.rewrite, first, product)
            if words := unread(one, product):
                self._report.warn(f"{one.name}: the app may not read all of it ({_listed(words)})")
        return made, product

    def _made(self, number: int, one: Input, command: tuple[str, ...], source: str, finding: Finding) -> tuple[str, Finding]:
        """What one run of a converter makes."""
        self._clear(number)
        made = self._run(number, one, command, self._prepared(number, one, source, finding))
        return made, self._judged(number, one, made, finding.spectra)

    def _prepared(self, number: int, one: Input, source: str, finding: Finding) -> str:
        """The source, or what we make of it where the converter would stumble over it."""
        from cumulus_runner.rewriting import MENDED  # where nothing is to be mended, it is not needed

        words = finding.features & MENDED.keys()
        if "any-ids" not in unread(one, finding):
            words -= {"any-ids"}
        if words <= {"gzip"} and source.lower().endswith(GZ):
            words = frozenset()
        if not words:
            return source
        name = os.path.basename(one.target if finding.kind == MZML else one.name)
        folder = os.path.join(self._places.work, f"prepare-{number}")
        os.mkdir(folder, 0o755)
        prepared = os.path.join(folder, name)
        self._rewritten(one, source, finding.kind, prepared, words)
        return prepared

    def _rewritten(self, one: Input, source: str, kind: str, target: str, words: frozenset[str]) -> None:
        from cumulus_runner.rewriting import MENDED, rewrite

        why = ", ".join(sorted(MENDED.get(word, word) for word in words))
        self._journal.server(f"{one.name} {why}: it is written anew for the app")
        if "any-ids" in words:
            self._journal.server(f"the spectra of {one.name} are numbered as they come: the first is scan=1")
        try:
            rewrite(kind, source, target, words, Progress(one.name, size_of(source), self._journal, self._stop))
        except Fault as fault:  # it was good before
            raise StageFailed(f"{one.name} changed while it was read: {fault}") from None

    def _run(self, number: int, one: Input, command: tuple[str, ...], source: str) -> str:
        """Let the converter make a file; returns where it lies."""
        folder = os.path.join(self._places.temp, f"convert-{number}")
        make_own(folder, self._user)
        log = self._log(number)
        code, ended = self._run_converter(one, command, source, folder, log)
        if self._stop.made:
            raise Stopped
        if ended:
            raise ConversionFailed(self._explain(one, log, code, f"the converter was ended: {ended}"))
        made = os.path.join(folder, MADE)
        if code or os.path.islink(made) or not os.path.exists(made):
            raise ConversionFailed(self._explain(one, log, code))
        return made

    def _run_converter(self, one: Input, command: tuple[str, ...], source: str, folder: str, log: str) -> tuple[int, str]:
        """The converter's exit code, and why it was ended: it hung, or started too much."""
        values = {"{source}": source, "{folder}": folder, "{name}": MADE}
        words = [_fill(word, values) for word in command]
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            program = Program(words, folder, environment(folder, self._user), self._user, output)
        except OSError as problem:
            raise StageFailed(f"{words[0]}, which is to convert {one.name}, cannot be started: {problem.strerror}") from None
        finally:
            os.close(output)
        what = f"{os.path.basename(words[0])}, which converts {one.name},"
        attendance = Attendance(program, self._stop, watch=self._watches.over(program.pid, what, folder, (folder, log)))
        return attendance.wait(), attendance.why

    def _judged(self, number: int, one: Input, made: str, spectra: int | None) -> Finding:
        """What was made, if it is whole and has all spectra of its source."""
        log = self._log(number)
        try:
            finding = _inspect_file(made, one.target, Progress(one.target, size_of(made), self._journal, self._stop))
        except Fault as fault:
            raise ConversionFailed(self._explain(one, log, 0, f"what was made of it is not whole: {fault}")) from None
        if None not in (spectra, finding.spectra) and spectra != finding.spectra:
            how = f"it has {spectra} spectra, and what was made of it has {finding.spectra}"
            raise ConversionFailed(self._explain(one, log, 0, how))
        return finding

    def _explain(self, one: Input, log: str, code: int, how: str = "") -> str:
        """Write the converter's last lines into the log; returns what to tell the user."""
        lines = _last_lines(log)
        for line in lines[-LOGGED_LINES:]:
            self._journal.own(f"{STDERR} {line}")
        if is_short_of_space(self._places.temp):
            return f"{one.name} could not be converted: the machine's disk is full"
        made_none = f"it made no {one.target}"
        how = how or (f"exit code {code}" if code > 0 else f"killed by signal {-code}" if code else made_none)
        return f"{one.name} could not be converted ({how}): {' / '.join(lines[-QUOTED_LINES:]) or 'the converter said nothing'}"

    def _keep(self, number: int, one: Input, target: str) -> None:
        """Without room in the storage, later jobs convert the file for themselves; this one has it."""
        try:
            self._folder.keep_converted(self._plan.attempt, number, target, lambda: self._stop.made)
        except OSError as problem:
            self._journal.server(f"{one.target} could not be kept for other jobs: {problem.strerror}")

    def _tell(self, one: Input, target: str, product: Finding) -> None:
        command = one.convert or one.rewrite or ()
        entry = {"source": one.name, "target": one.target, "command": " ".join(command)}
        entry["version"] = _writer(target) if product.kind != OTHER else command[0]
        self._report.conversions.append(entry if product.spectra is None else {**entry, "spectra": product.spectra})

    def _log(self, number: int) -> str:
        """What the converter said: not where another converter could put a link."""
        return os.path.join(self._places.work, f"convert-{number}.log")

    def _clear(self, number: int) -> None:
        for folder in (
            os.path.join(self._places.temp, f"convert-{number}"),
            os.path.join(self._places.work, f"prepare-{number}"),
        ):
            shutil.rmtree(folder, ignore_errors=True)


def _inspect_file(path: str, name: str, progress: Progress) -> Finding:
    """Raises Fault."""
    if os.path.isdir(path):
        raise Fault("it is a folder")
    return inspect(path, name, progress)


def make_own(folder: str, user: Account | None) -> None:
    """Make a folder in which the app's user may write."""
    os.mkdir(folder, 0o755)
    if user:
        os.chown(folder, user.uid, user.gid, follow_symlinks=False)


def _listed(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))


def _writer(path: str) -> str:
    """The program that wrote an mzML file, the last in its list of software."""
    from cumulus_runner.inspection_xml import attribute

    with open(path, "rb") as file:
        found = _SOFTWARE.findall(file.read(HEAD))
    values = (attribute(found[-1], name) or b"" for name in (b"id", b"version")) if found else ()
    return " ".join(value.decode("utf-8", "replace") for value in values)


def _fill(word: str, values: dict[str, str]) -> str:
    """The word with its placeholders filled in; what a value holds is not looked at again."""
    parts = [word]
    for name, value in values.items():
        parts = [piece for part in parts for piece in (_around(part, name, value) if part not in values.values() else [part])]
    return "".join(parts)


def _around(text: str, name: str, value: str) -> list[str]:
    first, *rest = text.split(name)
    return [first, *(piece for part in rest for piece in (value, part))]


def _last_lines(path: str) -> list[str]:
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - TAIL))
        text = file.read().decode("utf-8", "replace")
    return [harmless(line) for line in text.replace("\r", "\n").split("\n") if line.strip()]
