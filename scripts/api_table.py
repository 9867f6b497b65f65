"""The table of all operations in ``docs/api.md``, written from their definitions: ``.venv/bin/python -m scripts.api_table``."""

from collections.abc import Iterator
from pathlib import Path

from cumulus_client.operations import PREFIX
from server.api.v1.openapi import AnyOperation
from server.api.v1.operations import DOWNLOADS, OPERATIONS

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
BEGIN = "<!-- operations: written by python -m scripts.api_table -->"
END = "<!-- end of operations -->"


def operations() -> tuple[AnyOperation, ...]:
    """All of them, those that give a file last."""
    return (*(one.operation for one in OPERATIONS), *(one.operation for one in DOWNLOADS))


def table() -> str:
    """The table as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "| name | method and path | scope | what |"
    yield "|---|---|---|---|"
    for one in operations():
        yield f"| `{one.name}` | `{one.method} {PREFIX}{one.path}` | {one.scope} | {one.summary.removesuffix('.')} |"


def renewed(text: str) -> str:
    """The page's text with the table as it is now between its marks. Raises ValueError where these are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def main() -> None:
    """Write it into the page."""
    PAGE.write_text(renewed(PAGE.read_text()))


if __name__ == "__main__":
    main()
