"""How input files become mzML: a table from the end of a name to a converter's command.

Owns the commands; they run on the worker (``.cumulus.plan``), where ``{source}``, ``{folder}`` and ``{name}`` stand for the
file, the folder of the result and the result's name in it. What the result is called is in
:mod:`server.catalog.files`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from server.catalog.files import convertible_ending, mzml_name

ZLIB = "zlib"
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
    the source is mzML that the app reads as it is; ``rewrite``: how a result that it does not read is made into one that it does.
    """

    target: str
    program: str
    command: tuple[str, ...]
    unless_indexed: bool = False
    rewrite: tuple[str, ...] = ()


def conversion(name: str, accepts: Collection[str] | None = None) -> Conversion | None:
    """How a file or folder of this name becomes mzML for an app that ``accepts`` this (None: what most read).

    None where nothing here can do it. The ending counts in any case.
    """
    ending = convertible_ending(name)
    if ending is None:
        return None
    program, command = _CONVERTERS[ending]
    words = command(name) if accepts is None or ZLIB in accepts else (*command(name), *_WITHOUT_ZLIB.get(program, ()))
    target = mzml_name(name)
    return Conversion(target, program, words, unless_indexed=ending == ".mzml", rewrite=_msconvert(target))


def commands(name: str) -> set[tuple[str, ...]]:
    """All by which a file of this name is converted, for whatever app."""
    made = (conversion(name, accepts) for accepts in ((), (ZLIB,)))
    return {one.command for one in made if one is not None}


def _msconvert(name: str) -> tuple[str, ...]:
    """Without compression, which every app reads."""
    if _PATTERN_CHARACTERS & set(name):
        return "sh", "-c", _ANY_NAME, "msconvert", "{source}", "{folder}", "{name}"
    return MSCONVERT, "{source}", "--mzML", "--outfile", "{name}", "-o", "{folder}"


def _thermo(_name: str) -> tuple[str, ...]:
    return THERMO, "-i", "{source}", "-b", "{folder}/{name}", "-f", "2"  # 2: indexed mzML


def _bruker(_name: str) -> tuple[str, ...]:
    return BRUKER, "-i", "{source}", "-o", "{folder}/{name}"


# What is added for an app that does not read zlib. msconvert uses none by itself.
_WITHOUT_ZLIB = {THERMO: ("-z",), BRUKER: ("--compression", "none")}
_CONVERTERS: dict[str, tuple[str, Callable[[str], tuple[str, ...]]]] = {
    ".mzml.gz": (MSCONVERT, _msconvert),
    ".mzml": (MSCONVERT, _msconvert),
    ".mzxml": (MSCONVERT, _msconvert),
    ".mgf": (MSCONVERT, _msconvert),
    ".raw": (THERMO, _thermo),
    ".d": (BRUKER, _bruker),
}
