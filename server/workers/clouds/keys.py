"""SSH keys made on this computer: a guest's host key takes 1 ms here and 0.2 s on an emulated machine."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from server.home.files import OWNER_ONLY, own_folder, read_own, require_usable, set_aside, write_own

FOR_OTHERS = 0o077
KEY_LIMIT = 100_000  # bytes


@dataclass(frozen=True)
class KeyPair:
    """``private``: OpenSSH's file format. ``public``: one line, ``ssh-ed25519 AAAA…``."""

    private: str
    public: str


def make_key() -> KeyPair:
    """A new ed25519 key."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return KeyPair(private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


def ensure_key(path: Path) -> str:
    """The public line of the private key at ``path``, made (mode 0600) where there is none that can be used. Raises InTheWay.

    The public file is made of the private one: a machine keeps the key that it was made with.
    """
    require_usable(path)
    public, private = path.with_name(f"{path.name}.pub"), _content(path)
    line = _public_line(private)
    if not line:
        if private:
            set_aside(path, "it is no private key; machines that were made with another let nobody in by ssh")
        own_folder(path.parent, 0o700)
        pair = make_key()
        write_own(path, pair.private)
        line = pair.public
    elif path.stat().st_mode & FOR_OTHERS:
        path.chmod(OWNER_ONLY)  # ssh takes no other
    written = _content(public).decode(errors="replace").strip()
    if written.split()[:2] != line.split()[:2]:
        written = f"{line} cumulus"
        write_own(public, f"{written}\n", 0o644)
    return written


def _content(path: Path) -> bytes:
    try:
        return read_own(path, KEY_LIMIT)
    except OSError:
        return b""


def _public_line(private: bytes) -> str:
    """The public half of an OpenSSH private key; "" where that is none, or wants a passphrase."""
    try:
        key = load_ssh_private_key(private, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return ""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
