"""Checks a whole mgf file (Mascot generic format) while it streams by: each spectrum whole, each of its lines what it may be.

Lines of peaks are looked at in blocks: without their digits few different ones are left, and each of these is looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cumulus_runner.inspection_source import Fault, Source

BEGIN, END = b"BEGIN IONS", b"END IONS"
EMPTY_CHARGE = "empty-charge"
MAX_SPECTRUM = 1 << 28
SHOWN = 60  # characters of a bad line
_DIGITS = b"0123456789"
_NUMBER = rb"[0-9]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?"
_HEADS = re.compile(rb"(?:[ \t]*(?:[A-Za-z_][^=\n]*=[^\n]*|[#;!/][^\n]*)?\n)*")
_HEAD = re.compile(rb"[ \t]*(?:[A-Za-z_][^=\n]*=.*|[#;!/].*)?")
_PEAK = re.compile(rb"[ \t]*[+]?(?=[0-9.])" + _NUMBER + rb"[ \t,]+[-+]?(?=[0-9.])" + _NUMBER + rb"(?:[ \t,]+\S.*)?[ \t]*")
_PLAIN = re.compile(rb"\.?(?:[eE][-+]?)?[ \t]\.?(?:[eE][-+]?)?(?:[ \t]\.?[-+]?)?")  # the same without digits
_MASS = re.compile(rb"^PEPMASS[ \t]*=[ \t]*([^\n]*)", re.MULTILINE)
_MASS_VALUE = re.compile(rb"(?=[0-9.])" + _NUMBER + rb"(?:[ \t,]+[-+]?[0-9.]\S*)*[ \t]*")
_CHARGE = re.compile(rb"^CHARGE[ \t]*=[ \t]*([^\n]*)", re.MULTILINE)
_CHARGE_VALUE = re.compile(rb"[-+]?[0-9]{1,3}[-+]?(?:(?:[ \t]*(?:,|and)[ \t]*|[ \t]+)[-+]?[0-9]{1,3}[-+]?)*[ \t]*", re.IGNORECASE)


class MgfCheck:
    """One check; ``run`` does it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.features = source.features
        self.warnings: list[str] = []
        self.spectra = 0
        self._line = 1  # where the block begins that is looked at
        self._without_charge: list[int] = []
        self._common: set[bytes] = set()

    def run(self) -> None:
        """Raises Fault."""
        before, blocks = True, _blocks(self._source.lines())
        for block in blocks:
            if b"\0" in block:
                self._refuse(block, block.index(0), f"a hole of {block.count(0)} zero bytes")
            if before:
                self._check_heads(block, 0, "before the first spectrum")
                before = False
            else:
                self._spectrum(block)
            self._line += block.count(b"\n")
        if not self.spectra:
            raise Fault("it has no spectra: there is no BEGIN IONS in it")
        self._judge_charges()

    def _judge_charges(self) -> None:
        missing = len(self._without_charge)
        if not missing:
            return
        if missing == self.spectra:
            raise Fault(f"no spectrum has a charge: CHARGE= is empty in all {self.spectra}")
        self.features.add(EMPTY_CHARGE)
        which = ", ".join(str(one) for one in self._without_charge[:5]) + (", …" if missing > 5 else "")
        self.warnings.append(f"CHARGE= is empty in {missing} of {self.spectra} spectra ({which}): these are read as without a charge")

    def _spectrum(self, block: bytes) -> None:
        self.spectra += 1
        body, end, rest = block.partition(b"\n" + END)
        if not end:
            raise Fault(f"it is cut off or damaged: spectrum {self.spectra}, which begins in line {self._line}, has no END IONS")
        if body[len(BEGIN) :].partition(b"\n")[0].strip():
            self._refuse(block, 0, "something follows BEGIN IONS")
        if rest.strip():
            self._check_heads(block, len(body) + 1 + len(END), f"after spectrum {self.spectra}")
        heads = _HEADS.match(body, body.find(b"\n") + 1 or len(body))
        peaks_at = heads.end() if heads else len(body)
        self._check_values(body, peaks_at)
        self._check_peaks(body, peaks_at)

    def _check_values(self, body: bytes, end: int) -> None:
        mass = _MASS.search(body, 0, end)
        if mass is None:
            self._refuse(body, 0, "its PEPMASS is missing")
        elif not _MASS_VALUE.fullmatch(mass[1]):
            self._refuse(body, mass.start(), "its PEPMASS is no number")
        for charge in _CHARGE.finditer(body, 0, end):
            if not charge[1].strip():
                self._without_charge.append(self.spectra)
            elif not _CHARGE_VALUE.fullmatch(charge[1]):
                self._refuse(body, charge.start(), "its CHARGE is no charge")

    def _check_peaks(self, body: bytes, start: int) -> None:
        peaks = body[start:]
        lines = set(peaks.translate(None, _DIGITS).split(b"\n"))
        if lines <= self._common and not _is_odd(peaks):
            return
        if not _is_odd(peaks) and all(_PLAIN.fullmatch(line) for line in lines):
            if len(self._common) < 1000:
                self._common |= lines
            return
        at = start
        for line in peaks.split(b"\n"):
            if not (_PEAK.fullmatch(line) or _HEAD.fullmatch(line)):
                self._refuse(body, at, "a line that is no peak")
            at += len(line) + 1

    def _check_heads(self, block: bytes, start: int, where: str) -> None:
        at = start
        for line in block[start:].split(b"\n"):
            if not _HEAD.fullmatch(line):
                what = "END IONS without BEGIN IONS" if line.startswith(END) else f"what stands {where} belongs to none"
                self._refuse(block, at, what)
            at += len(line) + 1

    def _refuse(self, block: bytes, at: int, what: str) -> None:
        line = block[at:].partition(b"\n")[0][:SHOWN].decode("utf-8", "replace")
        where = f" (spectrum {self.spectra})" if self.spectra else ""
        raise Fault(f"line {self._line + block.count(10, 0, at)}{where}: {what}: {line!r}")


def _is_odd(peaks: bytes) -> bool:
    """Whether digits may be missing where there should be a number."""
    return (
        peaks[:1] in b" \t"
        or b"\n " in peaks
        or b" \n" in peaks
        or b"\t" in peaks
        or b"  " in peaks
        or b" .\n" in peaks
        or b"\n. " in peaks
        or peaks.endswith((b" ", b" ."))
    )


def _blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What stands before the first spectrum, then each spectrum from its BEGIN IONS to the next one's."""
    buffer, mark = b"\n", b"\n" + BEGIN
    started = False
    for chunk in chunks:
        buffer += chunk
        *whole, buffer = buffer.split(mark)
        for part in whole:
            yield (BEGIN + part if started else part[1:]) + b"\n"
            started = True
        if whole:
            pass
        if len(buffer) > MAX_SPECTRUM:
            raise Fault("it is damaged: a spectrum has no end")
    if buffer.strip() or not started:
        yield BEGIN + buffer if started else buffer[1:]
    elif started:
        yield BEGIN + buffer
