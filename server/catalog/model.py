"""What the XML of an app or a workflow says, as plain objects. Owns no reading, checking or rendering."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from server.catalog.controls.control import Control
from server.catalog.files import FileList
from server.catalog.patterns import Pattern
from server.catalog.rendering.quoting import NOTHING, ShellText

ConfigFormat = Literal["json", "yaml"]
IN_PROGRESS = "__work_in_progress__"  # a category that the desktop client hides, as it does what has the attribute `hidden`
AnyControl = Control[Any]


@dataclass(frozen=True)
class Branch:
    """A ``when``: what counts if the deciding parameter equals ``value``, or has ``pattern`` in it. Items are in their order."""

    value: str
    pattern: Pattern | None
    items: "tuple[Item, ...]"

    def counts(self, text: str) -> bool:
        """Whether it does for what the deciding parameter is. Raises InvalidInput for a text too long to be compared."""
        return self.pattern.found_in(text) if self.pattern else text == self.value


@dataclass(frozen=True)
class Conditional:
    """A deciding parameter, and the branches that depend on it."""

    name: str
    decider: AnyControl
    branches: tuple[Branch, ...]


Item = AnyControl | Conditional


@dataclass(frozen=True)
class Section:
    """A part of the form."""

    name: str
    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Findings:
    """What an app's exit codes and words mean. Patterns are regular expressions, searched in each line of its log; "" for none.

    ``input_error_codes`` and ``input_error``: an input file cannot be read. ``summary``: its named groups are figures;
    ``summary_command``: prints more of them, a line each. ``warn_if_zero``: names of figures that should not be 0.
    """

    input_error_codes: tuple[int, ...] = ()
    input_error: str = ""
    summary: str = ""
    summary_command: ShellText = NOTHING
    warn_if_zero: tuple[str, ...] = ()


@dataclass(frozen=True)
class App:
    """A program that jobs can run. ``end_tag``: regular expression of what a successful run prints, "" for none.

    ``end_tag_location``: a file of the output, or ``%stderr%`` or "" for the log. ``program``: what the machines may lack, since
    it comes with a ``licence`` whose terms somebody has to accept; both "" for an app that every machine has.
    ``stall_timeout_s``: seconds that it may do nothing; None: as the installation says. ``findings``: what its words mean.
    ``internet``: it may use that; others reach nothing but their files.
    """

    id: str
    name: str
    version: str
    category: str
    description: str
    hidden: bool
    command: ShellText
    config_format: ConfigFormat | None
    end_tag: str
    end_tag_location: str
    version_command: str
    program: str
    licence: str
    sections: tuple[Section, ...]
    stall_timeout_s: float | None = None
    findings: Findings = field(default_factory=Findings)
    internet: bool = False

    @property
    def is_hidden(self) -> bool:
        """Whether the desktop client leaves it out of its list."""
        return self.hidden or self.category == IN_PROGRESS

    def controls(self) -> Iterator[AnyControl]:
        """All parameters of the form, those of every branch among them, in the order of the XML."""
        for section in self.sections:
            yield from _within(section.items)

    @property
    def per_file(self) -> FileList | None:
        """The field of files that the app takes one by one; None where it takes all at once."""
        return next((one for one in self.controls() if isinstance(one, FileList) and one.per_file), None)


def _within(items: Iterable[Item]) -> Iterator[AnyControl]:
    for item in items:
        if isinstance(item, Conditional):
            yield item.decider
            for branch in item.branches:
                yield from _within(branch.items)
        else:
            yield item


@dataclass(frozen=True)
class Preset:
    """A parameter's value in a step of a workflow; ``from_tool``: the step that it comes from, counted from 0.

    ``line``: where it is in its file.
    """

    name: str
    value: str
    from_tool: int | None
    section: str
    visibility: str
    line: int


@dataclass(frozen=True)
class Step:
    """One app of a workflow."""

    app: str
    presets: tuple[Preset, ...]


@dataclass(frozen=True)
class Workflow:
    """Apps that run one after the other."""

    id: str
    name: str
    version: str
    category: str
    description: str
    hidden: bool
    steps: tuple[Step, ...]
