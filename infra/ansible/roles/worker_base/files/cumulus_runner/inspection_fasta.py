"""Checks a whole FASTA file while it streams by: records with sequences of letters, nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from cumulus_runner.inspection_source import Fault, Source

LOWER, PREAMBLE = "lower-case", "preamble"
SHOWN = 60
MAX_RECORD = 1 << 30
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SEQUENCE = _LETTERS + b"*-. \t\n"  # stop, gap; blanks and digits stand in some files
_DIGITS = b"0123456789"


class FastaCheck:
    """One check; ``run`` does it. A FASTA file has no spectra to count."""

    spectra = None

    def __init__(self, source: Source) -> None:
        self._source = source
        self.features = source.features
        self.warnings: list[str] = []
        self.records = 0
        self._line = 1
        self._residues = 0
        self._empty: list[str] = []

    def run(self) -> None:
        """Raises Fault."""
        for record in _records(self._source.lines()):
            if record.startswith(b">"):
                self._record(record)
            else:
                self._check_beginning(record)
            self._line += record.count(b"\n")
        if not self.records:
            raise Fault("it has no protein sequences: there is no line that begins with >")
        if not self._residues:
            raise Fault(f"it has no protein sequences: there is nothing behind the names of its {self.records} records")
        if self._empty:
            self.warnings.append(
                f"{len(self._empty)} of its {self.records} records have no sequence, the first is {self._empty[0]}"
            )

    def _check_beginning(self, text: bytes) -> None:
        self.features.add(PREAMBLE)
        if text.lstrip()[:1] == b"<":
            raise Fault("it has no protein sequences: it is a web page or XML")
        for line in text.split(b"\n"):
            if line.strip() and not line.startswith((b";", b"#")):
                raise Fault(f"line {self._line}: what stands before the first > belongs to no sequence: {_shown(line)}")

    def _record(self, record: bytes) -> None:
        self.records += 1
        head, _, sequence = record.partition(b"\n")
        if rest := sequence.translate(None, _SEQUENCE):
            rest = self._odd(rest, sequence)
        residues = len(sequence) - sequence.count(b"\n")
        self._residues += residues
        if not residues:
            self._empty.append(
                head[1:].split(None, 1)[0].decode("utf-8", "replace") if head[1:].split() else "one without a name"
            )

    def _odd(self, rest: bytes, sequence: bytes) -> bytes:
        if rest.isalpha() and rest.isascii():
            self.features.add(LOWER)
            return b""
        for number, line in enumerate(sequence.split(b"\n"), 1):
            left = line.upper().translate(None, _SEQUENCE + _DIGITS)
            if left and not line.startswith(b";"):
                raise Fault(f"line {self._line + number}: {_shown(left[:1])} is no letter of a sequence: {_shown(line)}")
        if rest.upper() != rest:
            self.features.add(LOWER)
        return rest


def _records(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What stands before the first record, then each record with its > and its lines."""
    buffer = b"\n"
    started = False
    for chunk in chunks:
        *whole, buffer = (buffer + chunk).split(b"\n>")
        for part in whole:
            text = b">" + part + b"\n" if started else (part + b"\n")[1:]
            started = True
            if text:
                yield text
        if len(buffer) > MAX_RECORD:
            raise Fault("it is damaged: a sequence has no end")
    if text := (b">" + buffer if started else buffer[1:]):
        yield text


def _shown(text: bytes) -> str:
    return repr(text[:SHOWN].decode("utf-8", "replace"))
