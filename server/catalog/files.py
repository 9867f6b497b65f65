"""The files of a form: from the paths that a client sends to the names under which an app finds them.

Owns what a file is called in the job's ``input/`` folder, also after its conversion. Where it is before that, and how it is
converted, is the storage's task.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from server.catalog.controls.control import Control, Texts, quoted, unfit
from server.catalog.rendering.quoting import NOTHING, ShellText
from server.catalog.rendering.variables import Variables
from server.errors import InvalidInput

MZML = ".mzML"
# What can be made into mzML, by the end of the name in lower case; the longer one first.
CONVERTIBLE = (".mzml.gz", ".mzml", ".mzxml", ".mgf", ".raw", ".d")
PRIVATE_PREFIX = ".cumulus."
OWN_PREFIXES = (PRIVATE_PREFIX, ".upload.")  # the second: what is on its way into the storage, and not whole yet
MAX_NAME_BYTES = 255
MAX_STEM_BYTES = 240  # of a converted file: room for the endings of results
_POSIX = re.compile(r"/(?!/)")
_DRIVE = re.compile(r"^[A-Za-z]:")
_STEP = "%job_dir_"
_STEP_RESULT = re.compile(r"%job_dir_([0-9]{1,4})%/output/(.+)", re.DOTALL)


@dataclass(frozen=True)
class StepResult:
    """A result of an earlier step of a workflow: the step counted from 0, the path in its output folder."""

    step: int
    path: str


@dataclass(frozen=True)
class InputFile:
    """A file (or with ``folder``: a folder) that a job needs, by base name. ``parameter``: the field that names it.

    ``shared``: in the data folder, else in the job's own; ``convert``: to mzML; ``formats``: accepted endings, without dot;
    ``result``: nobody sends it, it comes from an earlier step; ``title``: what people know the field by; ``path``: where the
    client has it, in one spelling; ``accepts``: what the app reads of what files may have, None where its XML does not say;
    ``alone``: the app takes such files one by one.
    """

    name: str
    shared: bool
    folder: bool
    convert: bool
    formats: tuple[str, ...]
    parameter: str
    result: StepResult | None = None
    title: str = field(default="", compare=False)
    path: str = field(default="", compare=False)
    accepts: tuple[str, ...] | None = field(default=None, compare=False)
    alone: bool = field(default=False, compare=False)

    @property
    def target(self) -> str:
        """Its name in the job's input folder."""
        return mzml_name(self.name) if self.convert else self.name


def convertible_ending(name: str) -> str | None:
    """Which of CONVERTIBLE a name ends with, in any case; None if with none, or with nothing before it."""
    lower = name.lower()
    return next((ending for ending in CONVERTIBLE if lower.endswith(ending) and len(lower) > len(ending)), None)


def mzml_name(name: str) -> str:
    """A file's name once it is mzML: only the last ending changes. A name of no known ending stays.

    A very long one is cut, so that an app can name its results after it; what is left is still its own.
    """
    ending = convertible_ending(name)
    if ending is None:
        return name
    stem = name[: -len(ending)]
    if len(stem.encode()) > MAX_STEM_BYTES:
        mark = f"~{sha256(name.encode()).hexdigest()[:8]}"
        stem = stem.encode()[: MAX_STEM_BYTES - len(mark)].decode(errors="ignore") + mark
    return stem + MZML


def base_name(path: str) -> str:
    r"""The last name in a path as some client's computer writes it (``C:\x\y.raw``, ``//server/share/y.raw``, ``/x/y.raw``).

    Raises InvalidInput where that is no name a file can have here.
    """
    if problem := unfit(path):
        raise InvalidInput(f"a path {problem}")
    if _POSIX.match(path):
        name = path.rstrip("/").rsplit("/", 1)[-1]
    else:
        name = re.split(r"[/\\]", _DRIVE.sub("", path).rstrip("/\\"))[-1]
    if problem := _name_problem(name):
        raise InvalidInput(f"{quoted(path)} {problem}")
    return name


def one_form(name: str) -> str:
    """The name as it is compared with others: the same letters are one name, in whatever Unicode form."""
    return unicodedata.normalize("NFC", name)


def one_spelling(path: str) -> str:
    r"""The path as it is compared with others: ``C:\x\y.raw`` and ``c:/x/y.raw`` are the same file of the same computer."""
    if _POSIX.match(path):
        return path.rstrip("/")
    plain = path.replace("\\", "/").rstrip("/")
    return plain[:1].upper() + plain[1:] if _DRIVE.match(plain) else plain


def _name_problem(name: str) -> str | None:
    if name in ("", ".", ".."):
        return "does not name a file"
    if "\\" in name:
        return "has a backslash in the file's name"
    if any(ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u2028\u2029" for char in name):
        return "has control characters in the file's name"
    if own := next((prefix for prefix in OWN_PREFIXES if name.startswith(prefix)), None):
        return f"begins with {own}, which names of Cumulus' own do"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"has a name of more than {MAX_NAME_BYTES} bytes"
    return None


def read_formats(text: str) -> tuple[str, ...]:
    """``mzML;mzML.gz`` as separate endings, without dots at their beginning."""
    return tuple(part.strip().lstrip(".") for part in text.split(";") if part.strip().strip("."))


@dataclass(frozen=True, kw_only=True)
class FileList(Control[tuple[InputFile, ...]]):
    """One file or several; folders with ``is_folder``. ``required``: the app cannot run without one. ``accepts``: what it reads
    of what files may have. ``per_file``: the app runs for each of them by itself.
    """

    multiple: bool
    is_folder: bool
    shared: bool
    convert: bool = False
    formats: tuple[str, ...] = ()
    required: bool = False
    per_file: bool = False
    accepts: tuple[str, ...] | None = None
    repeated_command: ShellText = NOTHING

    def _check(self, value: object) -> tuple[InputFile, ...] | None:
        paths = ([value] if value else []) if isinstance(value, str) else self.require_list(value)
        distinct: dict[object, object] = {}  # the client may send a path twice
        for path in paths:
            distinct.setdefault(one_spelling(path) if isinstance(path, str) else id(path), path)
        if len(distinct) > 1 and not self.multiple:
            self.refuse(f"has {len(distinct)} files, only one is possible")
        return tuple(map(self._file, distinct.values())) or None

    def _file(self, path: object) -> InputFile:
        if not isinstance(path, str):
            self.refuse(f"has {quoted(path)}, not a path")
        result = self._result(path) if path.startswith(_STEP) else None
        try:
            name = base_name(result.path if result else path)
        except InvalidInput as error:
            self.refuse(f"has a path that cannot be used: {error.message}")
        if self.formats and not any(name.lower().endswith(f".{ending.lower()}") for ending in self.formats):
            self.refuse(f"has {quoted(name)}, which does not end with .{' or .'.join(self.formats)}")
        shared = self.shared and result is None
        spelt = "" if result else one_spelling(path)
        return InputFile(
            name=name,
            shared=shared,
            folder=self.is_folder,
            convert=self.convert,
            formats=self.formats,
            parameter=self.name,
            result=result,
            title=self.title,
            path=spelt,
            accepts=self.accepts,
            alone=self.per_file,
        )

    def _result(self, path: str) -> StepResult:
        found = _STEP_RESULT.fullmatch(path)
        if found is None or any(part in ("", ".", "..") for part in found[2].split("/")):
            self.refuse(f"has {quoted(path)}; a result of an earlier step is %job_dir_N%/output/NAME")
        return StepResult(int(found[1]), found[2])

    def _pieces(self, value: tuple[InputFile, ...], texts: Texts) -> Iterator[str]:
        paths = _paths(value, texts["input_dir"])
        yield self.command.fill({**texts, "value": paths[0]})
        for path in paths:
            yield self.repeated_command.fill({**texts, "value": path})

    def _config(self, value: tuple[InputFile, ...], variables: Variables) -> object:
        paths = _paths(value, variables.input_dir)
        return paths if self.multiple else paths[0]


def _paths(files: Iterable[InputFile], folder: str) -> list[str]:
    return [f"{folder}/{file.target}" for file in files]
