"""What is different between two records of runs: what went in, what ran, and what came out. Pure."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from server.engine.records.record import JobRecord, RecordedConversion, RecordedInput, RecordedResult

Verdict = Literal["same", "different", "unknown"]
DIGITS = 12  # of a checksum, for people
LISTED = 20  # names in one sentence
Item = TypeVar("Item")


@dataclass(frozen=True)
class Difference:
    """Something that was one thing before and is another now; "" where there was or is none."""

    what: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before or 'none'} → {self.now or 'none'}"


@dataclass(frozen=True)
class Results:
    """The results of a run beside those of an earlier one: names of files. ``unknown``: of one nobody knows the checksum."""

    same: tuple[str, ...]
    different: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Whether all that the earlier run has left has come out again, and nothing else."""
        if self.different or self.missing or self.added:
            return "different"
        return "unknown" if self.unknown else "same"

    def __str__(self) -> str:
        if self.verdict == "same":
            return f"the results are the same ({len(self.same)} files)" if self.same else "neither run has left results"
        parts = (("differ", self.different), ("are missing", self.missing), ("are new", self.added))
        found = [
            f"{len(names)} {what} ({_few(names)})" for what, names in (*parts, ("cannot be compared", self.unknown)) if names
        ]
        same = f"; {len(self.same)} are the same" if self.same else ""
        return f"of the results, {', '.join(found)}{same}"


def differences(before: JobRecord, now: JobRecord) -> list[Difference]:
    """What may make the results differ. Of what is not known on one side nothing is said."""
    return [
        *_changed("app", _app(before), _app(now)),
        *_known("XML of the app", before.app.sha256, now.app.sha256, DIGITS),
        *_known("program", before.program, now.program),
        *_known("cloud", before.cloud, now.cloud),
        *_known("snapshot", before.snapshot, now.snapshot),
        *_changed("machine size", _flavor(before), _flavor(now)),
        *_known("Cumulus", before.controller.version, now.controller.version),
        *_settings(before.settings, now.settings),
        *_inputs(before.inputs, now.inputs),
        *_conversions(before.conversions, now.conversions),
    ]


def compare_results(before: Iterable[RecordedResult], now: Iterable[RecordedResult]) -> Results:
    """The results by their paths, sizes and checksums."""
    old, new = {one.path: one for one in before}, {one.path: one for one in now}
    both = {path: _same(old[path], new[path]) for path in old if path in new}

    def of(wanted: Verdict) -> tuple[str, ...]:
        return tuple(path for path, verdict in both.items() if verdict == wanted)

    missing, added = (tuple(path for path in some if path not in others) for some, others in ((old, new), (new, old)))
    return Results(of("same"), of("different"), missing, added, of("unknown"))


def _same(before: RecordedResult, now: RecordedResult) -> Verdict:
    if before.size != now.size:
        return "different"
    if not (before.sha256 and now.sha256):
        return "unknown"
    return "same" if before.sha256 == now.sha256 else "different"


def _app(record: JobRecord) -> str:
    return record.app.id


def _flavor(record: JobRecord) -> str:
    flavor = record.flavor
    return f"{flavor.name} ({flavor.cpus} CPUs, {flavor.memory_gb} GB)" if flavor.cpus else flavor.name


def _changed(what: str, before: str, now: str) -> Iterator[Difference]:
    if before != now:
        yield Difference(what, before, now)


def _known(what: str, before: str, now: str, digits: int | None = None) -> Iterator[Difference]:
    if before and now and before != now:
        yield Difference(what, before[:digits], now[:digits])


def _settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for key in dict.fromkeys((*before, *now)):
        old, new = (_value(settings[key]) if key in settings else "" for settings in (before, now))
        yield from _changed(f"setting {key}", old, new)


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _inputs(before: Iterable[RecordedInput], now: Iterable[RecordedInput]) -> Iterator[Difference]:
    for name, old, new in _pairs(before, now, lambda one: one.name):
        if old is None or new is None:
            converted = (old or new).origin == "converted"  # type: ignore[union-attr]  # one of them is there
            if not converted:  # which job has converted it makes no difference
                yield Difference(f"input {name}", *("read" if one else "" for one in (old, new)))
        else:
            yield from _known(f"content of {name}", old.sha256, new.sha256, DIGITS)


def _conversions(before: Iterable[RecordedConversion], now: Iterable[RecordedConversion]) -> Iterator[Difference]:
    for name, old, new in _pairs(before, now, lambda one: one.source):
        if old is not None and new is not None:
            yield from _known(f"converter of {name}", old.version, new.version)
            yield from _known(f"conversion of {name}", old.command, new.command)


def _pairs(
    before: Iterable[Item], now: Iterable[Item], name: Callable[[Item], str]
) -> Iterator[tuple[str, Item | None, Item | None]]:
    old, new = {name(one): one for one in before}, {name(one): one for one in now}
    for key in dict.fromkeys((*old, *new)):
        yield key, old.get(key), new.get(key)


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return ", ".join(listed[:LISTED]) + more
