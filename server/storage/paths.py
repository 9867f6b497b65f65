"""The one way from a name that somebody gave to a path: under its root, or refused."""

from pathlib import Path

from server.errors import InvalidInput, NotFound

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4096
PRIVATE_PREFIX = ".cumulus."


def inside(root: Path, relative: str, *, field: str = "path") -> Path:
    """The path ``relative`` under ``root``, links followed. Raises InvalidInput where it leads elsewhere, NotFound if absent."""
    require_plain(relative, field)
    try:
        base = root.resolve()
        path = (base / relative).resolve(strict=True)
    except (OSError, RuntimeError):
        raise NotFound(f"there is no {relative!r}", field=field) from None
    if not path.is_relative_to(base):
        raise InvalidInput(f"{relative!r} is outside of its folder", field=field)
    return path


def base_name(name: str, *, field: str = "name") -> str:
    """``name`` if it can be a file of its own in a folder. Raises InvalidInput."""
    require_plain(name, field)
    if "/" in name:
        raise InvalidInput(f"{name!r} is not a plain file name", field=field)
    return name


def require_plain(relative: str, field: str) -> None:
    """Raises InvalidInput where a relative path could lead elsewhere than down, or to the controller's own files."""
    parts = relative.split("/")
    if not relative or "\0" in relative or len(relative.encode(errors="replace")) > MAX_PATH_BYTES:
        raise InvalidInput("a path is empty, too long or has a NUL byte", field=field)
    if any(part in ("", ".", "..") or part.startswith(PRIVATE_PREFIX) for part in parts):
        raise InvalidInput(f"{relative!r} is not an allowed path", field=field)
    if any(len(part.encode(errors="replace")) > MAX_NAME_BYTES for part in parts):
        raise InvalidInput("a file name is too long", field=field)
