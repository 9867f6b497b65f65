"""The provider where plain terraform finds it: a filesystem mirror below ``$CUMULUS_HOME`` and the configuration that names it.

The mirror's one file is the same everywhere, so that its checksum is, too, and the modules' lock files can be committed. It
finds its home from its own place, and Python through a link beside the mirror. No link may point to the checkout: whatever
follows links through it (setuptools does) would come back here without end.
"""

import json
import os
import sys
from pathlib import Path

from server.workers.clouds.qemu.places import PROVIDER_ADDRESS, PROVIDER_VERSION, QemuHome

PLATFORM = "linux_amd64"
SCRIPT = """\
#!/bin/sh
# Terraform provider of Cumulus. Written by Cumulus; the same in every installation.
self=$(readlink -f "$0")
base=${self%/mirror/*}
exec "$base/venv/bin/python" -m server.workers.clouds.qemu.serve plugin --home "${base%/terraform}"
"""


def install_mirror(home: QemuHome) -> None:
    """Write the mirror and ``terraform.rc``; may be repeated, also while terraforms run."""
    folder = home.mirror / PROVIDER_ADDRESS / PROVIDER_VERSION / PLATFORM
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"terraform-provider-qemu_v{PROVIDER_VERSION}", home, SCRIPT, 0o755)
    _link(home.mirror.parent / "venv", Path(sys.prefix))
    _write(home.terraform_rc, home, _configuration(home.mirror), 0o644)


def _configuration(mirror: Path) -> str:
    own = f"{PROVIDER_ADDRESS.partition('/')[0]}/*/*"
    return f"""\
# Written by Cumulus. For a plain terraform: TF_CLI_CONFIG_FILE=<this file>
disable_checkpoint = true
provider_installation {{
  filesystem_mirror {{
    path    = {json.dumps(str(mirror))}
    include = ["{own}"]
  }}
  direct {{
    exclude = ["{own}"]
  }}
}}
"""


def _write(path: Path, home: QemuHome, text: str, mode: int) -> None:
    if path.is_file() and path.read_text() == text:
        return
    beside = home.mirror.parent / f"{path.name}.{os.getpid()}"  # not in the mirror: its folder is checksummed as a whole
    beside.write_text(text)
    beside.chmod(mode)
    beside.rename(path)


def _link(path: Path, target: Path) -> None:
    if path.is_symlink() and path.readlink() == target:
        return
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.symlink_to(target)
    beside.rename(path)
