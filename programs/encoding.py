"""Text is UTF-8 on every computer, whatever its locale: files are shared with machines and clients that know no other."""

import codecs
import locale
import os
import sys


def begin_in_utf8() -> None:
    """Begin this program anew in Python's UTF-8 mode (PEP 540) where the locale has another encoding; its process stays.

    For the first line of a program. Names of files that are not UTF-8 stay the bytes that they are.
    """
    if sys.flags.utf8_mode or codecs.lookup(locale.getpreferredencoding(False)).name == "utf-8":
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})  # noqa: S606
