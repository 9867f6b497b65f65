#!/usr/bin/python
"""Write several small files by one task: each module that is run starts a Python, which takes an emulated machine ten seconds."""

from __future__ import annotations

import os

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: several_files
short_description: Write several small files by one task
description:
  - Makes the folders where there are none; each file is written beside and renamed, and only where it differs.
options:
  groups:
    description: Files that go into one folder with the same permissions.
    type: list
    elements: dict
    required: true
    suboptions:
      folder:
        description: Where the files go.
        type: path
        required: true
      mode:
        description: Their permissions, in octal digits.
        type: str
        required: true
      files:
        description: Pairs of a name, of which the last part counts, and a text.
        type: list
        elements: list
        required: true
author: Cumulus
"""

GROUP = {
    "folder": {"type": "path", "required": True},
    "mode": {"type": "str", "required": True},
    "files": {"type": "list", "elements": "list", "required": True},
}
ARGUMENTS = {"groups": {"type": "list", "elements": "dict", "required": True, "options": GROUP}}


def main() -> None:
    """Write those that differ, and name them."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    written = [path for group in module.params["groups"] for path in _bring_about(group, module.check_mode)]
    module.exit_json(changed=bool(written), written=written)


def _bring_about(group: dict, check_mode: bool) -> list[str]:
    """Write what differs, or only say what does."""
    folder, mode = group["folder"], int(group["mode"], 8)
    named = [(os.path.join(folder, os.path.basename(name)), text.encode()) for name, text in group["files"]]
    differing = [(path, content) for path, content in named if not _is(path, content, mode)]
    if differing and not check_mode:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        for path, content in differing:
            _write(path, content, mode)
    return [path for path, _ in differing]


def _is(path: str, content: bytes, mode: int) -> bool:
    """Whether there is a file with that content and these permissions."""
    try:
        with open(path, "rb") as file:
            return file.read() == content and os.fstat(file.fileno()).st_mode & 0o7777 == mode
    except OSError:
        return False


def _write(path: str, content: bytes, mode: int) -> None:
    beside = f"{path}.new"
    with open(beside, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
    os.rename(beside, path)


if __name__ == "__main__":
    main()
