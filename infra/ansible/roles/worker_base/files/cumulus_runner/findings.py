"""What an app says: that its input is bad, and what it has found. Owns how its words and exit codes are read."""

from __future__ import annotations

import os
import re
from typing import Any, Callable

from cumulus_runner.endtag import is_simple, program_lines
from cumulus_runner.journal import KEPT_LINES, Journal
from cumulus_runner.lines import harmless
from cumulus_runner.orders import Places, Plan
from cumulus_runner.programs import Account, Attendance, Program, StopRequest, environment
from cumulus_runner.searching import TooSlow, bounded

COMMAND_LIMIT_S = 60.0
MAX_OUTPUT = 1024 * 1024
MAX_FIGURES = 100
QUOTED_LINES = 3
MAX_QUOTED = 300  # characters of a line
_FIGURE = re.compile(r"\s*([A-Za-z][^:=\n]{0,99}?)\s*[:=]\s*(\S.{0,40}?)\s*")
_NO_FORK = re.compile(r"\bcannot fork\b|\bfork: (?:retry: )?resource temporarily unavailable", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:\d{1,18}|\d{1,3}(?:[,' \u00a0\u202f]\d{3}){1,5})(?:\.\d{1,18})?(?:[eE][+-]?\d{1,2})?", re.ASCII)


class Findings:
    """Reads what one run of an app has written."""

    def __init__(self, plan: Plan, places: Places, user: Account | None, stop: StopRequest, journal: Journal) -> None:
        self._plan = plan
        self._places = places
        self._user = user
        self._stop = stop
        self._journal = journal

    def rejection(self, code: int, since: int) -> str | None:
        """Why the app could not read its input, in its own words; None where it does not say so.

        ``code``: its exit code; ``since``: where its part of the log begins.
        """
        lines = self._searched(self._plan.input_error, "input_error", lambda pattern: _matching(pattern, self._lines(since)))
        if not lines and code in self._plan.input_error_codes:
            lines = self._journal.last_lines(QUOTED_LINES) or [f"exit code {code}"]
        return " / ".join(lines) if lines else None

    def refused_fork(self) -> str:
        """The app's words where the kernel gave it no more processes, "" where it did not say so among its last lines.

        A shell goes on without the command that it could not start, so its exit code proves nothing then.
        """
        return next((line for line in self._journal.last_lines(KEPT_LINES) if _NO_FORK.search(line)), "")[:MAX_QUOTED]

    def figures(self, since: int, target: str) -> dict[str, float]:
        """The figures by name that the run of ``target`` ("" for all files at once) has led to, those of the log first."""
        found = self._searched(self._plan.summary, "summary", lambda pattern: _figures(pattern, self._lines(since))) or {}
        if self._plan.summary_command:
            found.update(self._counted(target))
        figures = {}
        for name, text in list(found.items())[:MAX_FIGURES]:
            value = as_number(text)
            if value is None:
                self._journal.server(f"{name} is not a number: {harmless(text[:40])}")
            else:
                figures[name] = value
        return figures

    def _lines(self, since: int) -> list[str]:
        return program_lines(self._places.log, since)

    def _searched(self, pattern: str, what: str, search: Callable[[re.Pattern[str]], Any]) -> Any:
        if not pattern:
            return None
        try:
            compiled = re.compile(pattern)
            return bounded(lambda: search(compiled), directly=is_simple(pattern))
        except TooSlow:
            self._journal.server(f"the app's {what} could not be searched in time: its author has to write a simpler one")
        except (re.error, RecursionError, OverflowError, RuntimeError, OSError) as problem:
            self._journal.server(f"the app's {what} cannot be used: {problem}")
        return None

    def _counted(self, target: str) -> dict[str, str]:
        """What the author's own command prints."""
        path = os.path.join(self._places.work, "summary")
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(self._plan.summary_command + "\n")
        text, outcome = self._run(path, target)
        if outcome:
            self._journal.server(f"the command that counts what was found did not succeed: {outcome}")
            return {}
        return dict(named for line in text.splitlines() if (named := _named(line)))

    def _run(self, script: str, target: str) -> tuple[str, str]:
        """What a script printed, and why that is not to be believed."""
        log = os.path.join(self._places.work, "summary.log")
        env = environment(self._places.temp, self._user)
        if target:
            env["CUMULUS_FILE"] = os.path.join(self._places.input, target)
        output = os.open(log, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            program = Program(("/bin/sh", script), self._places.output, env, self._user, output)
            attendance = Attendance(program, self._stop, limit_s=COMMAND_LIMIT_S)
            code = attendance.wait()
            text = os.pread(output, MAX_OUTPUT, 0).decode("utf-8", "replace")
        except OSError as problem:
            return "", problem.strerror or str(problem)
        finally:
            os.close(output)
        last = " / ".join(harmless(line) for line in text.splitlines()[-QUOTED_LINES:])
        return text, attendance.why or (f"exit code {code}: {last}" if code else "")


def as_number(text: str) -> float | None:
    """A number as programs write it, also 1,234 or 1'234; an int where it is whole. None for anything else."""
    if not _NUMBER.fullmatch(text.strip()):
        return None
    plain = re.sub(r"[,' \u00a0\u202f]", "", text.strip())
    return int(plain) if plain.lstrip("+-").isdigit() else float(plain)


def label(name: str) -> str:
    """A figure's name for people."""
    return name.replace("_", " ")


def written(value: float) -> str:
    """A figure as it stands in a log."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _matching(pattern: re.Pattern[str], lines: list[str]) -> list[str]:
    """The first lines that match, each once."""
    found: dict[str, None] = {}
    for line in lines:
        if len(found) < QUOTED_LINES and pattern.search(line):
            found.setdefault(harmless(line.strip()[:MAX_QUOTED]))
    return list(found)


def _figures(pattern: re.Pattern[str], lines: list[str]) -> dict[str, str]:
    """The text of each named group where it matched last, in the order of the pattern."""
    found: dict[str, str] = {}
    for line in lines:
        for match in pattern.finditer(line):
            found.update({name: text for name, text in match.groupdict().items() if text is not None})
    return {name: found[name] for name in pattern.groupindex if name in found}


def _named(line: str) -> tuple[str, str] | None:
    """Name and text of a line such as ``spectra: 1684``."""
    match = _FIGURE.fullmatch(line)
    return (harmless(match[1]), match[2]) if match else None
