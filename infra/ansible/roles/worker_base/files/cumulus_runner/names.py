"""Names of results: which can be fetched over HTTP and kept by any computer, and what others are called instead.

Owns the rules and the list of what was renamed; knows nothing of where files lie.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

PRIVATE = ".cumulus."  # names that begin so are never listed
LIST = "RENAMED FILES.txt"
MAX_BYTES = 255
SHORT_BYTES = 40
_HEAD = """\
The names of these results cannot be kept in the storage or fetched from it, so they have other names there.
Left: the name in this folder. Right: the name that the app gave it, with \\n, \\xff and the like for what cannot be shown.

"""


def is_plain(name: str) -> bool:
    """Whether a name can stay: UTF-8 that shows as one line, no path to a computer with Windows, none of our own names."""
    if name.isascii() and name.isprintable():
        return "\\" not in name and not name.startswith(PRIVATE)
    return not any(map(_is_bad, name)) and not name.startswith(PRIVATE)


def plain(name: str, taken: Collection[str]) -> str:
    """What a result is called in the storage whose name is not plain; none of those that are ``taken``."""
    safe = "".join("_" if _is_bad(letter) else letter for letter in name)
    return free("_" + safe[1:] if safe.startswith(PRIVATE) else safe, taken)


def free(name: str, taken: Collection[str]) -> str:
    """The name, or where it is taken the first of ``name (2).ext``, ``name (3).ext`` … that is not."""
    stem, dot, extension = name.rpartition(".")
    stem, extension = (stem, dot + extension) if stem and len(extension) < SHORT_BYTES else (name, "")
    found, number = name, 1
    while found in taken:
        number += 1
        end = f" ({number}){extension}"
        found = _cut(stem, MAX_BYTES - len(end.encode())) + end
    return found


def short(name: str) -> str:
    """A name of few plain letters for a storage that does not take the name itself; always the same, and hardly another's."""
    import hashlib

    stem, dot, extension = name.rpartition(".")
    letters = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in (stem or extension))
    end = "".join(letter for letter in extension if letter.isascii() and letter.isalnum())[:10] if stem else ""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{letters[:SHORT_BYTES]}~{digest}{dot if end else ''}{end}"


def quoted(name: str) -> str:
    """A name as text in one line from which it can be told exactly."""
    return "".join(map(_quoted, name))


def listing(renamed: Mapping[str, str]) -> bytes:
    """The list's content; ``renamed``: new paths and the old ones."""
    return (_HEAD + "".join(f"{new}\t{quoted(old)}\n" for new, old in sorted(renamed.items()))).encode("utf-8", "replace")


def _is_bad(letter: str) -> bool:
    code = ord(letter)
    return code < 32 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or letter in "\\\u2028\u2029"


def _quoted(letter: str) -> str:
    if letter == "\\":
        return "\\\\"
    if not _is_bad(letter):
        return letter
    code = ord(letter)
    if 0xDC80 <= code < 0xDD00:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


def _cut(text: str, size: int) -> str:
    return text.encode("utf-8", "surrogateescape")[:size].decode("utf-8", "ignore")
