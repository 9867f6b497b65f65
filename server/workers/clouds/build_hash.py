"""What a template is made from, as one name: to say where a template or a snapshot is of another version than the checkout."""

import hashlib
from pathlib import Path

from server.settings import CHECKOUT


def build_hash(*own: Path, checkout: Path = CHECKOUT) -> str:
    """Names the playbook with its roles, and the cloud's ``own`` files in the checkout, as they are now (SHA-256, hex)."""
    playbooks, digest = checkout / "infra" / "ansible", hashlib.sha256()
    for path in (*own, playbooks / "template.yml", *sorted((playbooks / "roles").rglob("*"))):
        inner = path.relative_to(checkout).parts
        if path.is_file() and path.suffix not in (".md", ".pyc") and not any(part.startswith(".") for part in inner):
            digest.update(f"{path.relative_to(checkout)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
