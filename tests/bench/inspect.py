"""How fast input files are checked on the worker: bytes of a file by the processor's seconds, one core.

The files are made for it: long invented peptides, so that a spectrum has 158 peaks; 150,000 invented proteins.
"""

import gzip
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.measuring import CHECKOUT, MB, Options, computer, keep_results, say, write
from tests.runner.cases import MASSES, Form, mgf, mzml, mzxml

RUNNER = CHECKOUT / "infra" / "ansible" / "roles" / "worker_base" / "files"
SPECTRA = 20_000
RESIDUES = 80
PROTEINS = 150_000
ROUNDS = 5
TARGET = "≥ 100"


def main(_options: Options) -> None:
    """Measure, print the table and write it down."""
    sys.path.insert(0, str(RUNNER))
    from cumulus_runner.inspection import inspect

    peptides = invented(SPECTRA, RESIDUES)
    kinds: dict[str, Callable[[], bytes]] = {
        "plain.mzML": lambda: mzml(Form(peptides=peptides)),
        "zlib.mzML": lambda: mzml(Form(compressed=True, peptides=peptides)),
        "plain.mzML.gz": lambda: gzip.compress(mzml(Form(peptides=peptides[: SPECTRA // 4])), 6, mtime=0),
        "plain.mzXML": lambda: mzxml(peptides=peptides),
        "spectra.mgf": lambda: mgf(peptides),
        "small spectra.mgf": lambda: mgf(invented(4 * SPECTRA, RESIDUES // 4)),
        "proteins.fasta": fasta,
        "unknown.raw": lambda: random.Random(1).randbytes(128 * MB),
    }
    rows = {}
    with tempfile.TemporaryDirectory(prefix="cumulus-bench-") as folder:
        for name, make in kinds.items():
            path = Path(folder, name)
            path.write_bytes(make())
            rows[name] = measured(lambda path=path: inspect(str(path), path.name), path.stat().st_size)  # type: ignore[misc]
            say(f"{name}: {rows[name][1]:.0f} MB/s")
            path.unlink()
    report(rows)


def measured(check: Callable[[], object], size: int) -> tuple[float, float, float]:
    """MB, and MB of a second of the processor: in the middle, and the slowest."""
    check()  # the imports
    speeds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        check()
        speeds.append(size / MB / (time.process_time() - begin))
    return size / MB, statistics.median(speeds), min(speeds)


def invented(number: int, length: int) -> list[str]:
    """Peptides that no life has."""
    random_ = random.Random(7)
    return ["".join(random_.choices("".join(MASSES), k=length)) for _ in range(number)]


def fasta() -> bytes:
    """Proteins in lines of 60 letters."""
    text = []
    for number, sequence in enumerate(invented(PROTEINS, 420)):
        lines = "\n".join(sequence[start : start + 60] for start in range(0, len(sequence), 60))
        text.append(f">sp|P{number:06}|P{number}_TEST Invented protein {number} OS=Nothing OX=0 GN=none PE=1 SV=1\n{lines}\n")
    return "".join(text).encode()


def report(rows: dict[str, tuple[float, float, float]]) -> None:
    """Write the table."""
    lines = [f"{computer()}.", "", "| file | MB | MB/s, median | MB/s, slowest | runs | target |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {name} | {size:.0f} | {median:.0f} | {slowest:.0f} | {ROUNDS} | {'–' if name.endswith('.gz') else TARGET} |"
        for name, (size, median, slowest) in rows.items()
    ]
    keep_results(
        "inspect", {name: {"mb": size, "mb_s": median, "slowest_mb_s": low} for name, (size, median, low) in rows.items()}
    )
    write("inspect", lines)
