"""What a shell text becomes while it is read: pieces of shell, and the places between them, with the quotes that are needed."""

from server.catalog.rendering.quoting import Place


class Pieces:
    """The pieces so far. Quotes around a place are closed before it and opened again after it, unless they would be empty."""

    def __init__(self) -> None:
        self._parts: list[str | Place] = []
        self._plain: list[str] = []
        # How long the plain text was when quotes were opened, or opened again behind a place.
        self._fresh = self._reopened = -1

    def add(self, text: str) -> None:
        """Add shell text as it is."""
        self._plain.append(text)

    def add_place(self, name: str, quotes: str = "") -> None:
        """Add a place; ``quotes``: those that it is within."""
        if quotes:
            self._leave(quotes)
        self._flush()
        self._parts.append(Place(name))
        if quotes:
            self._plain.append(quotes)
            self._fresh = self._reopened = len(self._plain)

    def open_quotes(self, quotes: str) -> None:
        """Add the beginning of quotes."""
        self._plain.append(quotes)
        self._fresh, self._reopened = len(self._plain), -1

    def close_quotes(self, quotes: str) -> None:
        """Add the end of quotes; where they were opened again only to end here, neither is needed."""
        if self._reopened == len(self._plain):
            self._plain.pop()
        else:
            self._plain.append(quotes)
        self._fresh = self._reopened = -1

    def parts(self) -> tuple[str | Place, ...]:
        """All pieces and places."""
        self._flush()
        return tuple(self._parts)

    def _leave(self, quotes: str) -> None:
        """End the quotes before a place; where they were opened just here, they are not needed at all."""
        if self._fresh == len(self._plain):
            self._plain.pop()
        else:
            self._plain.append(quotes)

    def _flush(self) -> None:
        if self._plain:
            self._parts.append("".join(self._plain))
            self._plain.clear()
        self._fresh = self._reopened = -1
