"""Reading Comet's tab-separated output: one peptide-spectrum match on a line."""

from collections.abc import Iterable
from dataclasses import dataclass

DECOY = "DECOY_"
GOOD_XCORR = 2.0


@dataclass(frozen=True)
class Psm:
    """One match of a spectrum to a peptide; ``xcorr`` higher and ``e_value`` lower is better."""

    scan: int
    charge: int
    e_value: float
    xcorr: float
    peptide: str
    protein: str

    @property
    def is_decoy(self) -> bool:
        """Whether only decoy proteins have the peptide."""
        return all(name.startswith(DECOY) for name in self.protein.split(","))


def parse_psms(text: str) -> list[Psm]:
    """The matches in a Comet text file: a line of Comet's own, one of column names, then the rows."""
    lines = text.splitlines()
    columns = lines[1].split("\t")
    rows = (dict(zip(columns, line.split("\t"), strict=False)) for line in lines[2:] if line)
    return [
        Psm(
            int(row["scan"]),
            int(row["charge"]),
            float(row["e-value"]),
            float(row["xcorr"]),
            row["modified_peptide"],
            row["protein"],
        )
        for row in rows
    ]


def best_by_score(psms: Iterable[Psm], least: float = GOOD_XCORR) -> list[Psm]:
    """Target matches with an xcorr over ``least``, best first."""
    return sorted((psm for psm in psms if not psm.is_decoy and psm.xcorr > least), key=lambda psm: -psm.xcorr)
