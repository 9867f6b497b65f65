"""What is in the agent's package: ``agent``, which is this folder, and ``programs`` beside it, which the controller has, too.

Hatchling reads this when the package is built, and by itself cannot put this folder under a name and another one beside it.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("agent", "programs")
SHIPPED = (".py", ".html")


class PackagesHook(BuildHookInterface):
    """Names each file with its place in the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Add the files. Raises FileNotFoundError where this folder is not in a checkout."""
        checkout = Path(self.root).parent
        for package in PACKAGES:
            if not (checkout / package / "__init__.py").is_file():
                raise FileNotFoundError(f"the agent is built in a checkout of Cumulus, and {checkout / package} is not there")
            for path in sorted((checkout / package).rglob("*")):
                if path.suffix in SHIPPED and path != Path(__file__):
                    build_data["force_include"][str(path)] = str(path.relative_to(checkout))
