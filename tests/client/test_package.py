"""The client as a package of its own: installed without the controller, it asks one."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from server.app import Controller
from server.settings import CHECKOUT
from tests.api.v1.local import at_the_socket
from tests.conftest import submission

pytestmark = pytest.mark.system
LIMIT_S = 50
ASK = """
import sys, cumulus_client
from cumulus_client.http import HttpCaller
print(cumulus_client.__file__, "server" in sys.modules)
print([job.id for job in cumulus_client.Cumulus(HttpCaller(socket=sys.argv[1])).jobs.list()])
"""


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_installed_alone_and_asks_a_controller(tmp_path: Path, controller: Controller) -> None:
    bare = tmp_path / "bare"
    run(sys.executable, "-m", "venv", bare, cwd=tmp_path)
    run(bare / "bin" / "pip", "install", "--disable-pip-version-check", "--no-deps", CHECKOUT / "cumulus_client", cwd=tmp_path)
    [packages] = bare.glob("lib/python*/site-packages")
    needed = Path(sysconfig.get_path("purelib"))
    for name in ("httpx", "httpcore", "h11", "anyio", "idna", "certifi", "pydantic", "pydantic_core", "annotated_types"):
        (packages / name).symlink_to(needed / name)
    for name in ("typing_extensions.py", "typing_inspection", "sniffio"):
        if (needed / name).exists():
            (packages / name).symlink_to(needed / name)
    job = controller.jobs.submit(*submission())
    with at_the_socket(controller) as path:
        where, found = run(bare / "bin" / "python", "-c", ASK, path, cwd=tmp_path).splitlines()
    assert where == f"{packages / 'cumulus_client' / '__init__.py'} False"
    assert found == f"[{job.id}]"
