"""From a file to a checked XML tree: entities, DTDs and the network are off, sizes are bounded, the XSD decides.

Owns how XML is read safely, and what of a file the desktop client gets. Knows nothing of what elements mean.
"""

import codecs
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import cast
from xml.sax.saxutils import quoteattr

from lxml import etree

from programs.errors import explained
from programs.regular import read_regular

MAX_FILE_BYTES = 2_000_000  # of the XSDs, too
MAX_ERRORS = 10
_ROOT = re.compile(r"<(tool|workflow)(?=[\s/>])")
_START = re.compile(r"""<(?:tool|workflow)(?:\s+[^\s=]+\s*=\s*(?:"[^"]*"|'[^']*'))*""")
_FILELIST = re.compile(r"""<filelist(?:\s+[^\s=]+\s*=\s*(?:"[^"]*"|'[^']*'))*""")
_ATTRIBUTE = re.compile(r"""\s+([^\s=]+)\s*=\s*(?:"[^"]*"|'[^']*')""")
# The client's own XSD does not know these; in its debug mode it refuses apps that have them.
OUR_ATTRIBUTES = (
    "version_command",
    "program",
    "licence",
    "stall_timeout_s",
    "input_error",
    "summary",
    "summary_command",
    "warn_if_zero",
)
OUR_FILELIST_ATTRIBUTES = frozenset({"per_file", "accepts"})
_BEFORE_ROOT = re.compile(r"(?:\s+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class BadXml(Exception):
    """A file that cannot be used: (line or 0, reason) for each thing that is wrong."""

    def __init__(self, *problems: tuple[int, str]) -> None:
        super().__init__("; ".join(reason for _, reason in problems))
        self.problems = problems


@dataclass(frozen=True)
class Document:
    """A file's tree, and its text for clients: from the root element on, without the attributes that only Cumulus knows."""

    root: etree._Element
    text: str


class Schemas:
    """The two XSDs, read when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def tool(self) -> etree.XMLSchema:
        """The schema of an app."""
        return self._read("app.xsd")

    @cached_property
    def workflow(self) -> etree.XMLSchema:
        """The schema of a workflow."""
        return self._read("workflow.xsd")

    def _read(self, name: str) -> etree.XMLSchema:
        """Raises BadXml: without it no app can be checked."""
        path = self._folder / name
        try:
            return etree.XMLSchema(etree.fromstring(read_regular(path, MAX_FILE_BYTES, follow=True), base_url=str(path)))
        except OSError as problem:
            raise BadXml((0, f"it cannot be checked: {explained(problem)}")) from None
        except (etree.XMLSyntaxError, etree.XMLSchemaParseError) as problem:
            raise BadXml((0, f"it cannot be checked: {path}: {problem}; restore it from the release")) from None

    def check(self, root: etree._Element) -> None:
        """Raises BadXml."""
        schema = self.tool if root.tag == "tool" else self.workflow
        if not schema.validate(root):
            errors = cast("Iterable[etree._LogEntry]", schema.error_log)
            raise BadXml(*((error.line, error.message) for error in islice(errors, MAX_ERRORS)))


def read_document(data: bytes, schemas: Schemas) -> Document:
    """A file's content as a tree that the XSD allows. Raises BadXml."""
    if len(data) > MAX_FILE_BYTES:
        raise BadXml((0, f"the file has more than {MAX_FILE_BYTES} bytes"))
    text = _decode(data)
    head = _BEFORE_ROOT.match(text)
    start = head.end() if head else 0
    if text.startswith("<!DOCTYPE", start):
        raise BadXml((_line(text, start), "a document type (DOCTYPE) is not accepted"))
    if not _ROOT.match(text, start):
        raise BadXml((_line(text, start), "neither `tool` nor `workflow` is its first element"))
    root = _parse("\n" * (_line(text, start) - 1) + text[start:])
    schemas.check(root)
    return Document(root, _for_clients(text[start:].rstrip()))


def line_of(element: etree._Element) -> int:
    """The line of an element in its file; 0 where that is not known."""
    line = element.sourceline
    return line if isinstance(line, int) else 0


def _for_clients(text: str) -> str:
    return _FILELIST.sub(
        lambda found: _ATTRIBUTE.sub(lambda one: "" if one[1] in OUR_FILELIST_ATTRIBUTES else one[0], found[0]),
        change_root(text, dict.fromkeys(OUR_ATTRIBUTES)),
    )


def change_root(text: str, changes: Mapping[str, str | None]) -> str:
    """A text that begins with its root element, with other values of attributes of that; None: without the attribute."""
    start = _START.match(text)
    if start is None:
        return text
    kept = _ATTRIBUTE.sub(lambda found: "" if found[1] in changes else found[0], start[0])
    new = "".join(f" {name}={quoteattr(value)}" for name, value in changes.items() if value is not None)
    return kept + new + text[start.end() :]


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _decode(data: bytes) -> str:
    encoding, start = _encoding(data)
    try:
        text = data[start:].decode(encoding)
        text.encode()
    except (UnicodeError, LookupError) as error:
        raise BadXml((0, f"the text cannot be read as {encoding}: {error}")) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(data: bytes) -> tuple[str, int]:
    """How a file's text is encoded, and where it begins."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding, len(mark)
    declared = _DECLARED.match(data[:200])
    return (declared[1].decode("ascii") if declared else "utf-8"), 0


def _parse(text: str) -> etree._Element:
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise BadXml((error.lineno or 0, f"not well-formed XML: {error.msg}")) from None
