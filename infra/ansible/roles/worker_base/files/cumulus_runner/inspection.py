"""Looks at a whole input file once: is it what its name says, is it whole, and in which form is it?

Owns which check belongs to which kind of file, and what is told of one. A kind that is not known is never refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Callable

from cumulus_runner.inspection_source import Fault, Progress, Source, unheard

MZML, MZXML, MGF, FASTA, OTHER = "mzML", "mzXML", "mgf", "FASTA", ""
_KINDS = {
    ".mzml": MZML,
    ".mzml.gz": MZML,
    ".mzxml": MZXML,
    ".mzxml.gz": MZXML,
    ".mgf": MGF,
    ".mgf.gz": MGF,
    ".fasta": FASTA,
    ".fasta.gz": FASTA,
    ".fa": FASTA,
    ".faa": FASTA,
    ".fas": FASTA,
}

__all__ = ["Fault", "Finding", "inspect", "kind_of"]


@dataclass(frozen=True)
class Finding:
    """What a file is. ``features``: what not every program can read of it; ``spectra``: how many, None where nobody counted.

    ``size`` in bytes and ``sha256`` are the file's; of a folder: of all files in it, by their names and sums. ``warnings``: what
    is odd.
    """

    kind: str
    size: int
    sha256: str
    features: frozenset[str] = frozenset()
    spectra: int | None = None
    warnings: tuple[str, ...] = field(default=())


def kind_of(name: str) -> str:
    """Which kind of file a name means; OTHER where nothing is known of it. The ending counts in any case."""
    lower = name.lower()
    return next((kind for ending, kind in _KINDS.items() if lower.endswith(ending)), OTHER)


def inspect(path: str, name: str, progress: Progress = unheard) -> Finding:
    """Read a file, or a folder of files, from beginning to end. ``name``: what it is called, whose ending counts.

    Raises Fault for what its kind does not allow, OSError where it cannot be read, and what ``progress`` raises.
    """
    if os.path.isdir(path):
        return _folder(path, progress)
    source = Source(path, progress)
    kind = kind_of(name)
    if kind == OTHER:
        for _ in source.bytes():
            pass
        return Finding(OTHER, source.size, source.sha256)
    if not os.path.getsize(path):
        raise Fault("it is empty")
    check = _CHECKS[kind](source)
    check.run()
    return Finding(kind, source.size, source.sha256, frozenset(check.features), check.spectra, tuple(check.warnings))


def _folder(path: str, progress: Progress) -> Finding:
    """Each file's sum, beside its name, sorted: the sum of that is the folder's."""
    from hashlib import sha256

    total, size = sha256(), 0
    for name in sorted(_files(path)):
        source = Source(os.path.join(path, name), progress)
        for _ in source.bytes():
            pass
        total.update(f"{source.sha256}  {name}\n".encode("utf-8", "surrogateescape"))
        size += source.size
    return Finding(OTHER, size, total.hexdigest())


def _files(path: str) -> list[str]:
    found = []
    for folder, _, names in os.walk(path):
        found += [os.path.relpath(os.path.join(folder, name), path) for name in names]
    return found


def _mzml(source: Source) -> _Check:
    from cumulus_runner.inspection_mzml import MzmlCheck

    return MzmlCheck(source)


def _mzxml(source: Source) -> _Check:
    from cumulus_runner.inspection_mzxml import MzxmlCheck

    return MzxmlCheck(source)


def _mgf(source: Source) -> _Check:
    from cumulus_runner.inspection_mgf import MgfCheck

    return MgfCheck(source)


def _fasta(source: Source) -> _Check:
    from cumulus_runner.inspection_fasta import FastaCheck

    return FastaCheck(source)


class _Check:
    """What each check offers."""

    features: set[str]
    spectra: int | None
    warnings: list[str]

    def run(self) -> None:
        """Raises Fault."""


_CHECKS: dict[str, Callable[[Source], _Check]] = {MZML: _mzml, MZXML: _mzxml, MGF: _mgf, FASTA: _fasta}
