"""Checks a whole mgf file (Mascot generic format) while it streams by: each spectrum whole, each of its lines what it may be.

Lines of peaks are looked at in blocks: without their digits few different ones are left, and each of these is looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cumulus_runner.inspection_source import Fault, Source

BEGIN, END = b"BEGIN IONS", b"END IONS"
EMPTY_CHARGE, COMMENTS = "empty-charge", "comments"
MAX_SPECTRUM = 1 << 28
AT_ONCE = 256 * 1024  # bytes of peaks
SHOWN = 60  # characters of a bad line
_DIGITS = b"0123456789"
_NUMBER = rb"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_HEADS = re.compile(rb"(?:[ \t]*(?:[A-Za-z_][^=\n]*=[^\n]*|[#;!/][^\n]*)?\n)*")
_COMMENT = re.compile(rb"^[ \t]*[#;!/]", re.MULTILINE)
_HEAD = re.compile(rb"[ \t]*(?:[A-Za-z_][^=\n]*=.*|[#;!/].*)?")
_PEAK = re.compile(rb"[ \t]*[+]?" + _NUMBER + rb"[ \t]+[-+]?" + _NUMBER + rb"(?:[ \t]+\S+)*[ \t]*")
_PLAIN = re.compile(rb"(?:\.?(?:[eE][-+]?)? \.?(?:[eE][-+]?)?(?: \.?[-+]?)?)?")  # the same without digits
_ODD = (
    b"\n ",
    b" \n",
    b"  ",
    b" .\n",
    b"\n. ",
    b".e",
    b".E",
    b"e\n",
    b"E\n",
    b"e ",
    b"E ",
    b"+\n",
    b"-\n",
)  # where there may be no digits at all
_USUAL = re.compile(
    rb"BEGIN IONS\n(?:(PEPMASS=[0-9]+(?:\.[0-9]+)?(?: [0-9.]+)*)\n|CHARGE=[0-9]{1,2}[-+]?\n|(?!PEPMASS|CHARGE)[A-Z]+=[^\n]*\n)*"
)
_MASS = re.compile(rb"^PEPMASS[ \t]*=[ \t]*([^\n]*)", re.MULTILINE)
_MASS_VALUE = re.compile(_NUMBER + rb"(?:[ \t]+[-+]?[0-9.]\S*)*[ \t]*")
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
        self._waiting: list[tuple[bytes, int, int, int]] = []  # a spectrum, where its peaks begin, its line, its number
        self._bytes = 0

    def run(self) -> None:
        """Raises Fault."""
        before, blocks = True, _blocks(self._source.lines())
        for block in blocks:
            if before:
                self._check_heads(block, 0, "before the first spectrum")
                before = False
            else:
                self._spectrum(block)
            self._line += block.count(b"\n")
        self._flush()
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
        self.warnings.append(
            f"CHARGE= is empty in {missing} of {self.spectra} spectra ({which}): these are read as without a charge"
        )

    def _spectrum(self, block: bytes) -> None:
        self.spectra += 1
        body, end, rest = block.partition(b"\n" + END)
        if not end:
            raise Fault(f"it is cut off or damaged: spectrum {self.spectra}, which begins in line {self._line}, has no END IONS")
        usual = _USUAL.match(body)
        peaks_at = (
            usual.end() if usual and usual[1] and body[usual.end() : usual.end() + 1].isdigit() else self._look_closely(body)
        )
        if rest != b"\n" and rest.strip():
            self._check_heads(block, len(body) + 1 + len(END), f"after spectrum {self.spectra}")
        self._waiting.append((body, peaks_at, self._line, self.spectra))
        self._bytes += len(body)
        if self._bytes > AT_ONCE:
            self._flush()

    def _look_closely(self, body: bytes) -> int:
        """Where the peaks begin in a spectrum that may be odd."""
        if body[len(BEGIN) :].partition(b"\n")[0].strip():
            self._refuse(body, 0, "something follows BEGIN IONS")
        heads = _HEADS.match(body, body.find(b"\n") + 1 or len(body))
        end = heads.end() if heads else len(body)
        self._check_values(body, end)
        if _COMMENT.search(body, 0, end):
            self.features.add(COMMENTS)
        return end

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

    def _flush(self) -> None:
        """Look at the peaks of several spectra at once; at each one's where something is odd."""
        peaks = b"\n".join((b"", *(body[start:] for body, start, _, _ in self._waiting), b""))
        peaks = peaks.replace(b"\t", b" ") if b"\t" in peaks else peaks
        lines = set(peaks.translate(None, _DIGITS).split(b"\n"))
        if any(odd in peaks for odd in _ODD) or not all(_PLAIN.fullmatch(line) for line in lines):
            for body, start, line, spectrum in self._waiting:
                self._check_lines(body[start:], line + body.count(b"\n", 0, start), spectrum)
        self._waiting, self._bytes = [], 0

    def _check_lines(self, peaks: bytes, number: int, spectrum: int) -> None:
        for line in peaks.split(b"\n"):
            if not _PEAK.fullmatch(line):
                if not _HEAD.fullmatch(line):
                    raise _fault(number, spectrum, "a line that is no peak", line)
                if _COMMENT.match(line):
                    self.features.add(COMMENTS)
            number += 1

    def _check_heads(self, block: bytes, start: int, where: str) -> None:
        at = start
        for line in block[start:].split(b"\n"):
            if not _HEAD.fullmatch(line):
                what = "END IONS without BEGIN IONS" if line.startswith(END) else f"what stands {where} belongs to none"
                self._refuse(block, at, what)
            at += len(line) + 1

    def _refuse(self, block: bytes, at: int, what: str) -> None:
        line = block[at:].partition(b"\n")[0]
        raise _fault(self._line + block.count(b"\n", 0, at), self.spectra, what, line)


def _fault(number: int, spectrum: int, what: str, line: bytes) -> Fault:
    where = f" (spectrum {spectrum})" if spectrum else ""
    return Fault(f"line {number}{where}: {what}: {line[:SHOWN].decode('utf-8', 'replace')!r}")


def _blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What stands before the first spectrum, then each spectrum from its BEGIN IONS to the next one's."""
    buffer, mark = b"\n", b"\n" + BEGIN
    started = False
    for chunk in chunks:
        buffer += chunk
        *whole, buffer = buffer.split(mark)
        for part in whole:
            yield BEGIN + part + b"\n" if started else (part + b"\n")[1:]
            started = True
        if len(buffer) > MAX_SPECTRUM:
            raise Fault("it is damaged: a spectrum has no end")
    if buffer.strip() or not started:
        yield BEGIN + buffer if started else buffer[1:]
    elif started:
        yield BEGIN + buffer
