"""What is wrong with a setting, where it was given, and what is right, in one line. Shared by the settings of both programs."""

import json
import os
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from programs.errors import Expected, explained
from programs.regular import NotRegular, read_regular

MAX_SHOWN = 100
MAX_FILE_BYTES = 1_000_000
Made = TypeVar("Made")
HOST = r"^[A-Za-z0-9._:%-]{1,253}$"  # a name or an address, of either version
_AT_LINE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class WrongSettings(Expected):
    """A setting, or the file of settings, cannot be used."""

    code = "wrong_settings"


def read_settings_file(path: Path) -> dict[str, Any]:
    """The settings in a TOML file; none where there is no file. Raises WrongSettings, with the line."""
    content = _content(path)
    try:
        return tomllib.loads(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise WrongSettings(f"{path}, line {line}: this is not UTF-8 text: save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as problem:
        raise WrongSettings(_toml_problem(path, content, str(problem))) from None
    except RecursionError:
        raise WrongSettings(f"{path}: lists or tables are within each other too deeply") from None


def _content(path: Path) -> bytes:
    if not os.path.lexists(path):
        return b""
    try:
        return read_regular(path, MAX_FILE_BYTES, follow=True)
    except NotRegular as problem:
        text = f"{path} {problem.strerror}: move it away, or put the settings into a file of that name"
        raise WrongSettings(text) from None
    except FileNotFoundError:
        raise WrongSettings(f"{path} is a link that leads to no file: mend it, or remove it") from None
    except OSError as problem:
        raise WrongSettings(f"the settings cannot be read: {explained(problem)}") from None


def _toml_problem(path: Path, content: bytes, text: str) -> str:
    found = _AT_LINE.search(text)
    line = int(found[1]) if found and found[1] else content.count(b"\n") + 1
    return f"{path}, line {line}: {_AT_LINE.sub('', text)} (the file is TOML: name = value, texts in quotes)"


def absolute(path: Path) -> Path:
    """The path, resolved. Raises ValueError for an unknown user's home, a circle of links, a working directory that is gone."""
    try:
        return path.expanduser().resolve()
    except OSError as error:
        raise ValueError(explained(error)) from None
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{str(path)!r} is no path: {error}") from None


def named(path: Path) -> Path:
    """The same of a file that keeps its name, also where it is a link, so that messages have the name that was given."""
    folder = absolute(path.parent)
    return folder / path.name if path.name else folder


@dataclass(frozen=True)
class Sources:
    """Where settings can be given: arguments, variables with a prefix, a file. ``known``: the names that there are."""

    prefix: str
    file: Path
    given: Mapping[str, object]
    known: Collection[str]

    def load(self, make: Callable[..., Made]) -> Made:
        """The settings. Raises WrongSettings, which says where the first that is wrong was given."""
        try:
            return make(**self.given)
        except ValidationError as error:
            raise self._wrong(error) from None
        except SettingsError as error:
            raise self._unreadable(error) from None
        except RecursionError:
            raise WrongSettings("a setting has lists or objects within each other too deeply") from None

    def _wrong(self, error: ValidationError) -> WrongSettings:
        first = error.errors()[0]
        names = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden" and len(names) == 1:
            text = f"{self.place(names[0])}: there is no setting {names[0]}{_similar(names[0], self.known)}"
        else:
            name = names[0] if names else ""
            words = _words(first, shows_value=bool(name) and not self._is_secret(name))
            text = f"{self.place(name)}: {'.'.join(names)} {words}" if name else words
        return WrongSettings(text, field=f"setting {'.'.join(names)}")

    def _is_secret(self, name: str) -> bool:
        field = self.known.get(name) if isinstance(self.known, Mapping) else None
        return getattr(field, "annotation", None) is SecretStr

    def _unreadable(self, error: SettingsError) -> WrongSettings:
        """A variable that must contain JSON and does not."""
        found = re.search(r'field "(\w+)"', str(error))
        name = found[1] if found else ""
        cause = error.__cause__
        why = f" ({cause.msg} at character {cause.pos + 1})" if isinstance(cause, json.JSONDecodeError) else ""
        return WrongSettings(f"{self.place(name)}: {name} must be JSON, which this is not{why}", field=f"setting {name}")

    def place(self, name: str) -> str:
        """Where a setting was given: the option, the variable, the file and its line, or that it is the default."""
        if name in self.given:
            return f"--{name.replace('_', '-')}"
        variable = f"{self.prefix}{name}".upper()
        if any(one.upper() == variable for one in os.environ):
            return variable
        line = _line(self.file, name)
        return f"{self.file}, line {line}" if line else f"the default of {name}"


def _line(file: Path, name: str) -> int:
    """The line in the file that sets it; 0: none."""
    wanted = re.compile(rf"""\s*(\[\s*)*["']?{re.escape(name)}["']?\s*[\].=]""")
    try:
        lines = read_regular(file, MAX_FILE_BYTES, follow=True).decode(errors="replace").splitlines()
    except OSError:
        return 0
    return next((number for number, line in enumerate(lines, start=1) if wanted.match(line)), 0)


def _similar(name: str, known: Collection[str]) -> str:
    found = get_close_matches(name, known, 1, cutoff=0.75)
    return f", did you mean {found[0]}?" if found else ""


def _words(error: ErrorDetails, *, shows_value: bool) -> str:
    """What is wrong. The value is shown where it can be no secret, nor have one in it as all settings together may."""
    text = error["msg"].removeprefix("Value error, ").partition(", unable")[0]
    for begin in ("Input should", "String should", "Path should"):
        text = text.replace(f"{begin} ", "must ", 1) if text.startswith(begin) else text
    if error["type"] in ("extra_forbidden", "missing"):
        return {"extra_forbidden": "is not known here", "missing": "is missing"}[error["type"]]
    shown = repr(error.get("input"))
    return text if len(shown) > MAX_SHOWN or not shows_value else f"{text} (it is {shown})"
