"""SSH keys made on this computer: a guest's host key takes 1 ms here and 0.2 s on an emulated machine."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


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
    """The public line of the key at ``path``, made (mode 0600) where there is none yet."""
    public = path.with_name(f"{path.name}.pub")
    if not path.is_file() or not public.is_file():
        _write_key(path, public, make_key())
    return public.read_text().strip()


def _write_key(path: Path, public: Path, pair: KeyPair) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    beside.touch(mode=0o600)
    beside.write_text(pair.private)
    public.write_text(f"{pair.public} cumulus\n")
    beside.rename(path)
