"""The app's input: each file linked, copied or converted into the work folder, under its final name only when it is whole."""

from __future__ import annotations

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from cumulus_runner.errors import StageFailed, Stopped
from cumulus_runner.folder import JobFolder, is_full
from cumulus_runner.journal import Journal
from cumulus_runner.lines import STDERR, harmless
from cumulus_runner.orders import Input, Places, Plan
from cumulus_runner.programs import Account, Attendance, Program, StopRequest, environment, is_short_of_space
from cumulus_runner.watch import Watches

INDEX_MARK = b"<indexedmzML"
HEAD = 4096
CHUNK = 1024 * 1024
TAIL = 8192
LOGGED_LINES = 20
QUOTED_LINES = 3


class Inputs:
    """Provides one job's input files."""

    def __init__(
        self, plan: Plan, places: Places, journal: Journal, user: Account | None, stop: StopRequest, watches: Watches
    ) -> None:
        self._plan = plan
        self._places = places
        self._journal = journal
        self._user = user
        self._stop = stop
        self._watches = watches
        self._folder = JobFolder(places.job)
        self._failed = threading.Event()

    def provide(self) -> list[Input]:
        """Link or copy what the app takes as it is; returns what must be converted. Raises StageFailed, Stopped."""
        for one in self._plan.inputs:
            if not os.path.exists(self._source(one)):
                where = "the data folder" if one.shared else "the job's own input folder"
                raise StageFailed(f"input file {one.name} is not in {where}")
        ready = [one for one in self._plan.inputs if not self._must_convert(one)]
        for one in ready:
            self._attempt(one, self._copy if self._plan.copy_inputs else self._link)
        if ready:
            self._journal.server(
                f"{'copied' if self._plan.copy_inputs else 'linked'} input: {', '.join(one.target for one in ready)}"
            )
        return [one for one in self._plan.inputs if one not in ready]

    def convert(self, inputs: list[Input]) -> None:
        """Convert, as many at once as there are processors. Raises StageFailed for the first that fails, Stopped."""
        if not inputs:
            return
        with ThreadPoolExecutor(min(self._plan.cpus, len(inputs)), thread_name_prefix="convert") as pool:
            outcomes = [pool.submit(self._convert, number, one) for number, one in enumerate(inputs)]
        problems = [problem for outcome in outcomes if (problem := outcome.exception())]
        problems.sort(key=lambda problem: not isinstance(problem, Stopped))
        if problems:
            raise problems[0]

    def _source(self, one: Input) -> str:
        return os.path.join(*((self._places.data,) if one.shared else (self._places.shown_job, "input")), one.name)

    def _target(self, one: Input) -> str:
        path = os.path.join(self._places.input, one.target)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def _must_convert(self, one: Input) -> bool:
        if one.convert is None or not one.unless_indexed:
            return one.convert is not None
        try:
            with open(self._source(one), "rb") as file:
                return INDEX_MARK not in file.read(HEAD)
        except IsADirectoryError:
            return True
        except OSError as problem:
            raise StageFailed(f"input file {one.name} cannot be read: {problem.strerror}") from None

    def _attempt(self, one: Input, provide: object) -> None:
        if self._stop.made:
            raise Stopped
        try:
            provide(one)  # type: ignore[operator]
        except OSError as problem:
            why = "the machine's disk is full" if is_full(problem) else problem.strerror
            raise StageFailed(f"input file {one.name} could not be provided: {why}") from None

    def _link(self, one: Input) -> None:
        os.symlink(self._source(one), self._target(one))

    def _copy(self, one: Input) -> None:
        source, target = self._source(one), self._target(one)
        part = os.path.join(self._places.temp, "copy.part")
        if os.path.isdir(source):
            shutil.copytree(source, part, copy_function=self._copy_file)
        else:
            self._copy_file(source, part)
        os.rename(part, target)

    def _copy_file(self, source: str, target: str) -> str:
        with open(source, "rb") as read, open(target, "xb") as write:
            while chunk := read.read(CHUNK):
                if self._stop.made:
                    raise Stopped
                write.write(chunk)
            size = os.fstat(read.fileno()).st_size
        if os.path.getsize(target) != size:
            raise StageFailed(f"input file {os.path.basename(source)} changed while it was copied")
        return target

    def _convert(self, number: int, one: Input) -> None:
        if self._stop.made:
            raise Stopped
        if self._failed.is_set():
            return
        folder = os.path.join(self._places.temp, f"convert-{number}")
        make_own(folder, self._user)
        begin = time.monotonic()
        log = os.path.join(self._places.work, f"convert-{number}.log")  # not where another converter could put a link
        code = self._run_converter(one, folder, log)
        if self._stop.made:
            raise Stopped
        made = os.path.join(folder, os.path.basename(one.target))
        if code or os.path.islink(made) or not os.path.exists(made):
            self._failed.set()
            raise StageFailed(self._explain(one, log, code))
        os.rename(made, self._target(one))
        shutil.rmtree(folder, ignore_errors=True)
        self._journal.server(f"converted {one.name} to {one.target} in {time.monotonic() - begin:.1f} s")
        if one.keep:
            self._keep(one)

    def _keep(self, one: Input) -> None:
        """Without room in the storage, later jobs convert the file for themselves; this one has it."""
        number = self._plan.inputs.index(one)
        try:
            self._folder.keep_converted(self._plan.attempt, number, self._target(one), lambda: self._stop.made)
        except OSError as problem:
            self._journal.server(f"{one.target} could not be kept for other jobs: {problem.strerror}")

    def _run_converter(self, one: Input, folder: str, log: str) -> int:
        values = {"{source}": self._source(one), "{folder}": folder, "{name}": os.path.basename(one.target)}
        command = [_fill(word, values) for word in one.convert or ()]
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            program = Program(command, folder, environment(folder, self._user), self._user, output)
        except OSError as problem:
            raise StageFailed(f"{command[0]}, which is to convert {one.name}, cannot be started: {problem.strerror}") from None
        finally:
            os.close(output)
        what = f"{os.path.basename(command[0])}, which converts {one.name},"
        attendance = Attendance(program, self._stop, watch=self._watches.over(program.pid, what, folder, (folder, log)))
        code = attendance.wait()
        if attendance.outcome and not self._stop.made:
            self._failed.set()
            raise StageFailed(f"{self._explain(one, log, code)}: the converter was ended: {attendance.why}")
        return code

    def _explain(self, one: Input, log: str, code: int) -> str:
        """Write the converter's last lines into the log; returns what to tell the user."""
        lines = _last_lines(log)
        for line in lines[-LOGGED_LINES:]:
            self._journal.own(f"{STDERR} {line}")
        if is_short_of_space(self._places.temp):
            return f"{one.name} could not be converted: the machine's disk is full"
        how = f"exit code {code}" if code > 0 else f"killed by signal {-code}" if code else f"it made no {one.target}"
        return f"{one.name} could not be converted ({how}): {' / '.join(lines[-QUOTED_LINES:]) or 'the converter said nothing'}"


def make_own(folder: str, user: Account | None) -> None:
    """Make a folder in which the app's user may write."""
    os.mkdir(folder, 0o755)
    if user:
        os.chown(folder, user.uid, user.gid, follow_symlinks=False)


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
