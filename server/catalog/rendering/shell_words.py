"""Which words of a command some program reads as shell once more: a value in one of them would be shell, however it is quoted."""

import re
import shlex

_SHELL = re.compile(r"(?:.*/)?(?:ba|da|z|k|a|c|tc|mk|ya|fi)?sh|\$SHELL|\$\{SHELL\b.*\}", re.DOTALL)
_READS_ALL = re.compile(r"(?:.*/)?(?:eval|trap|ssh)", re.DOTALL)
_READS_ALL_AS_FIRST = re.compile(r"(?:.*/)?(?:watch|parallel)", re.DOTALL)
_READS_AFTER_C = re.compile(r"(?:.*/)?(?:su|runuser|script|flock)", re.DOTALL)
_OPTION = re.compile(r"[-+].*", re.DOTALL)
_COMMAND = re.compile(r"-[A-Za-z]*c[A-Za-z]*|--command")
_TAKES_WORD = re.compile(r"[-+][A-Za-z]*[oO]|--rcfile|--init-file")


def is_read_as_shell(before: str) -> bool:
    """Whether the next word is; ``before``: the words of the same command before it, as they are written."""
    try:
        words = shlex.split(before.replace("\\\n", ""))
    except ValueError:  # quotes within a substitution: without the words, this cannot be known
        words = before.split()
    if any(_READS_ALL.fullmatch(word) for word in words) or (words and _READS_ALL_AS_FIRST.fullmatch(words[0])):
        return True
    if any(_SHELL.fullmatch(word) and _is_command_next(words[at + 1 :]) for at, word in enumerate(words)):
        return True
    return bool(words and _COMMAND.fullmatch(words[-1])) and any(_READS_AFTER_C.fullmatch(word) for word in words)


def _is_command_next(words: list[str]) -> bool:
    """Whether a shell with these words takes the next one as its command: all of them are options, one of them ``-c``."""
    found = False
    rest = iter(words)
    for word in rest:
        if not _OPTION.fullmatch(word):
            return False
        found = found or _COMMAND.fullmatch(word) is not None
        if _TAKES_WORD.fullmatch(word):
            next(rest, None)
    return found
