"""What an app's XML says about its exit codes and words: which mean a bad input, and which are figures. Owns that syntax."""

import re

from lxml import etree

from server.catalog.model import Findings
from server.catalog.patterns import UnboundedPattern, read_search
from server.catalog.rendering.quoting import NOTHING, UnsafeText
from server.catalog.rendering.shell_grammar import read_shell
from server.catalog.xml import BadXml, line_of

_CODES = re.compile(r"\s*([0-9]{1,3}(?:[\s,]+[0-9]{1,3})*)\s*(?::(.*))?", re.DOTALL)
MAX_CODE = 255


def read_findings(root: etree._Element) -> Findings:
    """The findings of a ``tool`` element. Raises BadXml."""
    try:
        return _findings(root)
    except (UnboundedPattern, UnsafeText, ValueError) as error:
        raise BadXml((line_of(root), str(error))) from None


def read_input_error(text: str) -> tuple[tuple[int, ...], str]:
    """Exit codes, a pattern, or both (``65 66: no spectra``). Raises ValueError, UnboundedPattern."""
    found = _CODES.fullmatch(text)
    codes = tuple(int(code) for code in re.findall("[0-9]+", found[1])) if found else ()
    if wrong := [code for code in codes if not 0 < code <= MAX_CODE]:
        raise ValueError(f"input_error: {wrong[0]} is no exit code of a failure")
    pattern = (found[2] or "").strip() if found else text.strip()
    _check("input_error", pattern)
    return codes, pattern


def read_summary(text: str) -> tuple[str, ...]:
    """The names of the figures of a pattern. Raises ValueError, UnboundedPattern."""
    if not text:
        return ()
    names = tuple(_check("summary", text).groupindex)
    if not names:
        raise ValueError("summary has no named group such as (?P<spectra>[0-9]+), so it yields no figure")
    return names


def _findings(root: etree._Element) -> Findings:
    codes, pattern = read_input_error(root.get("input_error", ""))
    summary, command = root.get("summary", "").strip(), root.get("summary_command", "").strip()
    names = [name.replace("_", " ") for name in read_summary(summary)]
    marked = tuple(name for part in root.get("warn_if_zero", "").split(",") if (name := part.strip()))
    if not command and (unknown := [name for name in marked if name.replace("_", " ") not in names]):
        raise ValueError(f"warn_if_zero: {unknown[0]} is no figure of the summary")
    return Findings(codes, pattern, summary, read_shell(command) if command else NOTHING, marked)


def _check(name: str, pattern: str) -> "re.Pattern[str]":
    found = read_search(pattern, name)
    if pattern and found.search(""):
        raise ValueError(f"{name} is found in an empty line, so it says nothing")
    return found
