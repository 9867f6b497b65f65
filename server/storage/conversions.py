"""How input files become mzML: a table from the end of a name to a converter's command.

Owns the commands; they run on the worker (``.cumulus.plan``), where ``{source}``, ``{folder}`` and ``{name}`` stand for the
file, the folder that the result goes to and the result's name in it. What the result is called is in
:mod:`server.catalog.files`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from server.catalog.files import convertible_ending, mzml_name

# msconvert takes its arguments for patterns of file names, and puts _ in place of some characters of the name that it writes.
# A list of files on standard input, and a name of our own choice, are taken as they are.
_PATTERN_CHARACTERS = frozenset('*?[]\\:|<>"')
_ANY_NAME = """\
made=converting-$$.mzML
printf '%s\\n' "$1" | msconvert --filelist /dev/stdin --mzML --outfile "$made" -o "$2" && mv -- "$2/$made" "$2/$3"\
"""


@dataclass(frozen=True)
class Conversion:
    """``target``: the result's name; ``unless_indexed``: not needed where the source is indexed mzML already."""

    target: str
    command: tuple[str, ...]
    unless_indexed: bool = False


def conversion(name: str) -> Conversion | None:
    """How a file or folder of this name becomes mzML; None where nothing here can do it. The ending counts in any case."""
    ending = convertible_ending(name)
    if ending is None:
        return None
    return Conversion(mzml_name(name), _COMMANDS[ending](name), unless_indexed=ending == ".mzml")


def _msconvert(name: str) -> tuple[str, ...]:
    if _PATTERN_CHARACTERS & set(name):
        return "sh", "-c", _ANY_NAME, "msconvert", "{source}", "{folder}", "{name}"
    return "msconvert", "{source}", "--mzML", "--outfile", "{name}", "-o", "{folder}"


def _thermo(_name: str) -> tuple[str, ...]:
    return "ThermoRawFileParser", "-i", "{source}", "-b", "{folder}/{name}", "-f", "2"  # 2: indexed mzML


def _bruker(_name: str) -> tuple[str, ...]:
    return "tdf2mzml", "-i", "{source}", "-o", "{folder}/{name}"


_COMMANDS: dict[str, Callable[[str], tuple[str, ...]]] = {
    ".mzml.gz": _msconvert,
    ".mzml": _msconvert,
    ".mzxml": _msconvert,
    ".mgf": _msconvert,
    ".raw": _thermo,
    ".d": _bruker,
}
