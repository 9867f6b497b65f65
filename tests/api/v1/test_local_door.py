"""The controller's Unix socket: the kernel says who asks, and nobody else can say so."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from cumulus_client import Cumulus, Refused, Unreachable
from cumulus_client.http import HttpCaller
from programs.http.unix_door import PEER_UID, naming_peers
from server.api.v1.identity import identify
from server.app import Controller, create_app
from server.cli.shared.backend import short_path
from server.home.folder import SOCKET_FILE, close_home
from server.services.principal import Established
from server.settings import CHECKOUT, Settings
from tests.api.v1.local import at_the_socket, client_of
from tests.conftest import submission

NOBODY = 65534
ASK = """
import os, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
from cumulus_client import Cumulus, Refused
from cumulus_client.http import HttpCaller
try:
    print(Cumulus(HttpCaller(socket={path!r})).jobs.cancel({job}))
except Refused as problem:
    print(problem.problem.status, problem.message)
"""


def as_user(uid: int, path: str, job: int) -> str:
    code = ASK.format(uid=uid, path=path, job=job)
    return subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout


def test_who_runs_the_controller_looks_after_it(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    with client_of(controller) as cumulus:
        assert [one.id for one in cumulus.jobs.list()] == [job.id]
        assert cumulus.jobs.cancel(job.id) == f"Job {job.id} is cancelled"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be somebody else")
def test_another_user_of_the_computer_is_known_and_ends_nobody_s_job(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    home = controller.settings.home
    home.parent.chmod(0o755)
    with at_the_socket(controller) as path:
        close_home(home, controller.settings.storage)
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o666
        shared = Path(path).parent
        for folder in (shared, *shared.parents):
            folder.chmod(folder.stat().st_mode | 0o011)
        assert as_user(NOBODY, path, job.id) == f"404 there is no job {job.id} of nobody\n"
        assert as_user(0, path, job.id) == f"Job {job.id} is cancelled\n"


def test_nobody_is_believed_who_only_claims_to_come_from_the_socket(controller: Controller) -> None:
    client = create_app(controller).test_client()
    forged = {"REMOTE_ADDR": "127.0.0.1", "HTTP_PROGRAMS_PEER_UID": "0", "HTTP_X_FORWARDED_FOR": "unix:0"}
    assert client.get("/api/v1/jobs", environ_overrides=forged).status_code == 401
    assert client.get("/api/v1/jobs", headers={"programs.peer_uid": "0", "Remote-Addr": "unix:0"}).status_code == 401


def test_the_number_of_the_user_takes_the_place_of_the_address() -> None:
    seen: dict[str, object] = {}
    naming_peers(lambda environ, _: seen.update(environ) or [])({"REMOTE_ADDR": "unix:17"}, lambda *_: None)  # type: ignore[func-returns-value]
    assert (seen["programs.peer_uid"], seen["REMOTE_ADDR"]) == (17, "")
    naming_peers(lambda environ, _: seen.update(environ) or [])({"REMOTE_ADDR": "::1"}, lambda *_: None)  # type: ignore[func-returns-value]
    assert seen["REMOTE_ADDR"] == "::1"


def test_a_socket_that_a_killed_controller_has_left_is_taken(controller: Controller, settings: Settings) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(settings.home / SOCKET_FILE))
    left.close()
    with pytest.raises(Unreachable, match="no controller answers at the socket"):
        Cumulus(HttpCaller(socket=str(settings.home / SOCKET_FILE))).jobs.list()
    with client_of(controller) as cumulus:
        assert cumulus.jobs.list() == []


def test_a_home_deep_in_folders_has_a_socket_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    path = short_path(deep / SOCKET_FILE)
    assert len(path) < 100
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    assert (deep / SOCKET_FILE).is_socket()
    listening.close()


def test_a_refusal_is_a_problem_with_its_field(controller: Controller) -> None:
    with client_of(controller) as cumulus, pytest.raises(Refused, match="there is no job 7") as refused:
        cumulus.jobs.get(7)
    assert (refused.value.problem.status, refused.value.code, refused.value.problem.field) == (404, "not_found", "job")


@pytest.mark.parametrize(
    ("uid", "established"),
    [(0, Established.LOCAL_ADMIN), (os.geteuid(), Established.LOCAL_ADMIN), (NOBODY, Established.LOCAL_USER)],
)
def test_root_and_who_runs_the_controller_are_its_administrators(uid: int, established: Established) -> None:
    request = Request(EnvironBuilder(environ_overrides={PEER_UID: uid}).get_environ())
    assert identify(request).established == established
