"""What ``%nb_threads%``, ``%input_dir%``, ``%output_dir%`` and ``%config-file%`` are in one job."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from server.catalog.rendering.quoting import THREADS

_NAMES = re.compile(r"%(nb_threads|input_dir|output_dir|config-file)%")


@dataclass(frozen=True)
class Variables:
    """``threads``: how many the program may use; absolute paths on the machine.

    ``config_file``: path of the config file without its suffix, which depends on the app.
    """

    threads: int
    input_dir: str
    output_dir: str
    config_file: str

    @property
    def texts(self) -> Mapping[str, str]:
        """Name and text of each."""
        return {
            THREADS: str(self.threads),
            "input_dir": self.input_dir,
            "output_dir": self.output_dir,
            "config-file": self.config_file,
        }

    def expand(self, text: str) -> str | int:
        """A text of a config file with the variables' values, put in once; the number of threads alone is a number."""
        if text == f"%{THREADS}%":
            return self.threads
        texts = self.texts
        return _NAMES.sub(lambda found: texts[found[1]], text)
