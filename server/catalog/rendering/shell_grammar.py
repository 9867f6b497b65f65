"""Reading the shell text of an app's author as the shell would, once, when the app is loaded. Owns where a value may be.

The text is shell (``sh``). Wherever ``%value%`` or another name is in it, the value arrives as exactly its bytes, as (part of)
one argument: quotes around a place are closed before it and opened again after it, and the value is written there in single
quotes of its own. Where that cannot be right (within backticks, ``${…}``, arithmetic, comments, here-documents, after a backslash
or ``$``, in a text that is read as shell once more) the app is refused.

Each function begins at what opens its part and returns behind its end.
"""

import re
from contextlib import nullcontext

from server.catalog.rendering.quoting import VARIABLES, ShellText
from server.catalog.rendering.shell_scanner import READ_TWICE, Scanner
from server.catalog.rendering.shell_words import is_read_as_shell

_BLANKS = " \t\n"
_SEPARATORS = ";&|()\n"


def read_shell(text: str, names: frozenset[str] = frozenset()) -> ShellText:
    """Read an author's text in which, beside the variables, ``names`` may be. Raises UnsafeText."""
    scanner = Scanner(text, names | VARIABLES)
    if "\0" in text:
        scanner.refuse("it has a NUL byte")
    _bare(scanner, nested=False)
    return ShellText(scanner.pieces.parts(), is_read_as_shell(text[scanner.command_start :]))


def _bare(scanner: Scanner, *, nested: bool) -> None:
    """Outside of quotes; ``nested``: within ``$(…)``, up to its end."""
    depth = 0
    for char in scanner.rest():
        if nested and char == ")" and depth == 0:
            scanner.take()
            return
        depth += {"(": 1, ")": -1}.get(char, 0)
        _bare_step(scanner, char, nested=nested)
    if nested:
        scanner.refuse("a `$(` has no end")


def _bare_step(scanner: Scanner, char: str, *, nested: bool) -> None:
    if scanner.take_place() or _quoting_step(scanner, char, quoted=False):
        return
    match char:
        case "#" if scanner.word_start == scanner.at:
            _comment(scanner)
        case "<" if scanner.sees("<<"):
            scanner.refuse("here-documents (`<<`) are not supported")
        case _:
            _other(scanner, char, nested=nested)


def _other(scanner: Scanner, char: str, *, nested: bool) -> None:
    if nested and scanner.word_start == scanner.at and re.match(r"case\s", scanner.text[scanner.at :]):
        scanner.refuse("`case` within `$(…)` is not supported")
    scanner.take()
    if char in _BLANKS or char in _SEPARATORS or char in "<>":
        scanner.word_start = scanner.at
    if char in _SEPARATORS:
        scanner.command_start = scanner.at


def _single(scanner: Scanner) -> None:
    scanner.open_quotes()
    for char in scanner.rest():
        if char == "'":
            scanner.close_quotes()
            return
        if not scanner.take_place("'"):
            scanner.take()
    scanner.refuse("a single quote is not closed")


def _double(scanner: Scanner) -> None:
    scanner.open_quotes()
    for char in scanner.rest():
        if char == '"':
            scanner.close_quotes()
            return
        _double_step(scanner, char)
    scanner.refuse("a double quote is not closed")


def _double_step(scanner: Scanner, char: str) -> None:
    if scanner.take_place('"'):
        return
    match char:
        case "\\":
            _escaped(scanner)
        case "`":
            _backticks(scanner)
        case "$":
            _dollar(scanner, quoted=True)
        case _:
            scanner.take()


def _escaped(scanner: Scanner) -> None:
    if scanner.at + 1 >= len(scanner.text):
        scanner.refuse("it ends with a backslash")
    if scanner.sees_place(1):
        scanner.refuse("a value stands behind a backslash")
    scanner.take(2)


def _backticks(scanner: Scanner) -> None:
    scanner.take()
    with scanner.barred("within backticks (use `$(…)`)"):
        for char in scanner.rest():
            if char == "`":
                scanner.take()
                return
            if char == "\\":
                _escaped(scanner)
            elif not scanner.take_place():
                scanner.take()
        scanner.refuse("a backtick is not closed")


def _dollar(scanner: Scanner, *, quoted: bool) -> None:
    following = scanner.text[scanner.at + 1 : scanner.at + 3]
    if scanner.sees_place(1):
        scanner.refuse("a value stands behind a `$`")
    if not quoted and following[:1] in ("'", '"'):
        scanner.refuse("`$'…'` and `$\"…\"` mean different things in different shells")
    if following == "((":
        _arithmetic(scanner)
    elif following[:1] == "(":
        _substitution(scanner)
    elif following[:1] == "{":
        _braces(scanner, quoted=quoted)
    else:
        # A special parameter such as $# must not be taken for something else.
        scanner.take(2 if following[:1] in tuple("#?$!@*-") else 1)


def _substitution(scanner: Scanner) -> None:
    with scanner.barred(READ_TWICE) if scanner.is_read_twice() else nullcontext():
        scanner.take(2)
        outer = scanner.command_start, scanner.word_start
        scanner.command_start = scanner.word_start = scanner.at
        _bare(scanner, nested=True)
        scanner.command_start, scanner.word_start = outer


def _arithmetic(scanner: Scanner) -> None:
    scanner.take(3)
    with scanner.barred("within arithmetic"):
        depth = 0
        for char in scanner.rest():
            if char in "'\"\\`" or scanner.sees("$("):
                scanner.refuse("quotes or substitutions within `$((…))` are not supported")
            if depth == 0 and scanner.sees("))"):
                scanner.take(2)
                return
            depth += {"(": 1, ")": -1}.get(char, 0)
            if not scanner.take_place():
                scanner.take()
        scanner.refuse("a `$((` has no end")


def _braces(scanner: Scanner, *, quoted: bool) -> None:
    scanner.take(2)
    with scanner.barred("within `${…}`"):
        for char in scanner.rest():
            if char == "}":
                scanner.take()
                return
            if quoted and char in "'\"":
                scanner.refuse('quotes within `"${…}"` mean different things in different shells')
            _braces_step(scanner, char, quoted=quoted)
        scanner.refuse("a `${` has no end")


def _braces_step(scanner: Scanner, char: str, *, quoted: bool) -> None:
    if not _quoting_step(scanner, char, quoted=quoted) and not scanner.take_place():
        scanner.take()


def _quoting_step(scanner: Scanner, char: str, *, quoted: bool) -> bool:
    """Read what quotes or is expanded, wherever it stands; False where the character does neither."""
    match char:
        case "'":
            _single(scanner)
        case '"':
            _double(scanner)
        case "\\":
            _escaped(scanner)
        case "`":
            _backticks(scanner)
        case "$":
            _dollar(scanner, quoted=quoted)
        case _:
            return False
    return True


def _comment(scanner: Scanner) -> None:
    with scanner.barred("within a comment"):
        while scanner.at < len(scanner.text) and not scanner.sees("\n"):
            if not scanner.take_place():
                scanner.take()
        if scanner.at == len(scanner.text):
            scanner.refuse("a comment has no end, so that it would swallow what follows")
