"""How input files become mzML: a table from the end of a name to a converter's command.

Owns the commands; they run on the worker (``.cumulus.plan``), where ``{source}``, ``{folder}`` and ``{name}`` stand for the
file, the folder that the result goes to and the result's name in it. What the result is called is in
:mod:`server.catalog.files`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from server.catalog.files import convertible_ending, mzml_name

MSCONVERT, THERMO, BRUKER = CONVERTERS = ("msconvert", "ThermoRawFileParser", "tdf2mzml")
# msconvert takes its arguments for patterns of file names, and puts _ in place of some characters of the name that it writes.
# A list of files on standard input, and a name of our own choice, are taken as they are.
_PATTERN_CHARACTERS = frozenset('*?[]\\:|<>"')
_ANY_NAME = """\
made=converting-$$.mzML
printf '%s\\n' "$1" | msconvert --filelist /dev/stdin --mzML --outfile "$made" -o "$2" && mv -- "$2/$made" "$2/$3"\
"""


@dataclass(frozen=True)
class Conversion:
    """``target``: the result's name; ``program``: what does it, by its name on the machine; ``unless_indexed``: not needed where
    the source is indexed mzML already.
    """

    target: str
    program: str
    command: tuple[str, ...]
    unless_indexed: bool = False


def conversion(name: str) -> Conversion | None:
    """How a file or folder of this name becomes mzML; None where nothing here can do it. The ending counts in any case."""
    ending = convertible_ending(name)
    if ending is None:
        return None
    program, command = _CONVERTERS[ending]
    return Conversion(mzml_name(name), program, command(name), unless_indexed=ending == ".mzml")


def _msconvert(name: str) -> tuple[str, ...]:
    if _PATTERN_CHARACTERS & set(name):
        return "sh", "-c", _ANY_NAME, "msconvert", "{source}", "{folder}", "{name}"
    return MSCONVERT, "{source}", "--mzML", "--outfile", "{name}", "-o", "{folder}"


def _thermo(_name: str) -> tuple[str, ...]:
    return THERMO, "-i", "{source}", "-b", "{folder}/{name}", "-f", "2"  # 2: indexed mzML


def _bruker(_name: str) -> tuple[str, ...]:
    return BRUKER, "-i", "{source}", "-o", "{folder}/{name}"


_CONVERTERS: dict[str, tuple[str, Callable[[str], tuple[str, ...]]]] = {
    ".mzml.gz": (MSCONVERT, _msconvert),
    ".mzml": (MSCONVERT, _msconvert),
    ".mzxml": (MSCONVERT, _msconvert),
    ".mgf": (MSCONVERT, _msconvert),
    ".raw": (THERMO, _thermo),
    ".d": (BRUKER, _bruker),
}
