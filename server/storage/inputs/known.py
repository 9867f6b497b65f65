"""What is known of a job's input files before any of them is read: from what the sender says, and from what was pinned.

Only for the record of the run: an unreadable list counts as none.
"""

from dataclasses import dataclass, field

from server.catalog.files import one_form
from server.storage.folders import JobFolder
from server.storage.inputs.arrivals import ManifestUnreadable, Sent, read_sent
from server.storage.inputs.checksums import folder_sha256
from server.storage.inputs.copying import SHA256
from server.storage.inputs.pins import pinned_for

NOTHING = Sent(())


@dataclass(frozen=True)
class KnownInputs:
    """``sent``: names of what somebody sent for this job; ``contents``: bytes (None: not known) and SHA-256 by name."""

    sent: frozenset[str] = frozenset()
    contents: dict[str, tuple[int | None, str]] = field(default_factory=dict)

    def is_sent(self, name: str) -> bool:
        """Whether the file or folder of that name was sent."""
        return one_form(name) in self.sent

    def content(self, name: str) -> tuple[int | None, str]:
        """Bytes and SHA-256 of the file or folder of that name; (None, "") where nobody said."""
        return self.contents.get(one_form(name), (None, ""))


def known_inputs(folder: JobFolder) -> KnownInputs:
    """All that the job's folder says of its input."""
    sent, pinned = _sent(folder), pinned_for(folder)
    parts: dict[str, dict[str, tuple[int, str]]] = {}
    for file in sent.files:
        name, _, below = file.inner.partition("/")
        parts.setdefault(one_form(name), {})[below] = (file.size, _bare(file.checksum))
    contents = {name: _content(files) for name, files in parts.items()}
    for pin in pinned.pins if pinned else ():
        if checksum := _bare(pin.content):
            contents.setdefault(one_form(pin.name), (None, checksum))
    return KnownInputs(frozenset(parts.keys() - set(map(one_form, sent.stored))), contents)


def _sent(folder: JobFolder) -> Sent:
    try:
        return read_sent(folder) or NOTHING
    except ManifestUnreadable:  # the job fails by that
        return NOTHING


def _content(files: dict[str, tuple[int, str]]) -> tuple[int | None, str]:
    size = sum(size for size, _ in files.values())
    if list(files) == [""]:
        return files[""]
    known = all(checksum for _, checksum in files.values())
    return size, folder_sha256({path: checksum for path, (_, checksum) in files.items()}) if known else ""


def _bare(checksum: str) -> str:
    return checksum.removeprefix(SHA256) if checksum.startswith(SHA256) else ""
