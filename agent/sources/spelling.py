"""Finding a file whose name the client writes in another form of Unicode than the file system has it.

"é" is one character (NFC, as Windows and Linux write) or an "e" with an accent after it (NFD, as macOS and what was copied from
there has it). Both look the same; to Linux they are two names. The exact name wins where both exist.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")


def spelled(top: Path, parts: Iterable[str]) -> Path:
    """The path below ``top`` that the parts mean, each as the file system has it; as it was given where nothing fits."""
    path = top
    for part in parts:
        inner = path / part
        path = inner if part.isascii() or os.path.lexists(inner) else path / _other(path, part)
    return path


def _other(folder: Path, name: str) -> str:
    for form in _FORMS:
        if os.path.lexists(folder / (other := unicodedata.normalize(form, name))):
            return other
    try:
        names = [one.name for one in folder.iterdir()]
    except OSError:
        return name
    plain = unicodedata.normalize("NFC", name)
    same = sorted(one for one in names if unicodedata.normalize("NFC", one) == plain)  # of mixed forms
    return same[0] if len(same) == 1 else name
