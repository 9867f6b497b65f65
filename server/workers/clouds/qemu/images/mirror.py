"""The provider where plain terraform finds it: a filesystem mirror below ``$CUMULUS_HOME`` and the configuration that names it.

The mirror's one file is the same everywhere, so that its checksum is, too, and the modules' lock files can be committed. It
finds its home from its own place, and Python through a link beside the mirror. No link may point to the checkout: whatever
follows links through it (setuptools does) would come back here without end.
"""

import json
import os
import stat
import sys
from pathlib import Path

from server.home.files import clear, own_folder, put_in_place, read_own, remove_own, write_own
from server.workers.clouds.qemu.paths import PROVIDER_ADDRESS, PROVIDER_VERSION, QemuHome

PLATFORM = "linux_amd64"
SCRIPT = """\
#!/bin/sh
# Terraform provider of Cumulus. Written by Cumulus; the same in every installation.
self=$(readlink -f "$0")
base=${self%/mirror/*}
exec "$base/venv/bin/python" -m server.workers.clouds.qemu.serve plugin --home "${base%/terraform}"
"""


def install_mirror(home: QemuHome) -> None:
    """Write the mirror and ``terraform.rc`` where they are not as they should be; may be repeated, also while terraforms run.

    Raises InTheWay.
    """
    folder = home.mirror / PROVIDER_ADDRESS / PROVIDER_VERSION / PLATFORM
    own_folder(folder)
    plugin = folder / f"terraform-provider-qemu_v{PROVIDER_VERSION}"
    for path in folder.iterdir():
        if path != plugin or path.is_dir():  # terraform's checksum is of the folder as a whole: nothing is set aside in it
            clear(path)
    _write(plugin, home, SCRIPT, 0o755)
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
    if _is(path, text, mode):
        return
    beside = home.mirror.parent / f"{path.name}.{os.getpid()}"  # not in the mirror either
    write_own(beside, text, mode)
    put_in_place(beside, path)


def _is(path: Path, text: str, mode: int) -> bool:
    try:
        return read_own(path, len(text) + 1) == text.encode() and stat.S_IMODE(path.stat().st_mode) == mode
    except OSError:
        return False


def _link(path: Path, target: Path) -> None:
    if path.is_symlink() and path.readlink() == target:
        return
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    remove_own(beside)
    beside.symlink_to(target)
    put_in_place(beside, path)
