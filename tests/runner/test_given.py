"""The job that a machine was made for: how its orders are read, and what is waited for before they are obeyed."""

import json
import socket
from pathlib import Path
from threading import Timer

import pytest

from tests.runner.conftest import wait_until

# isort: split
from cumulus_runner import given
from cumulus_runner.errors import RunnerError

META = {
    "cumulus_job": "Job_7_ada_app_1",
    "cumulus_storage": "10.0.0.4 2049",
    "cumulus_worker": "job-7",
    "cumulus_server": "c0ffee",
}


def drive(**meta: str) -> str:
    return json.dumps({"uuid": "1", "meta": META | meta})


def test_the_orders_are_three_values_of_the_server_s_metadata() -> None:
    assert given.given_in(drive()) == given.Given("10.0.0.4", 2049, "Job_7_ada_app_1", "job-7")
    assert given.given_in(drive(cumulus_storage="fd00::4 2049")) == given.Given("fd00::4", 2049, "Job_7_ada_app_1", "job-7")


@pytest.mark.parametrize("text", ["{}", '{"meta": null}', '{"meta": {}}', drive(cumulus_job="")])
def test_a_machine_without_a_job_has_no_orders(text: str) -> None:
    assert given.given_in(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"meta": "x"}',
        drive(cumulus_job="../../etc"),
        drive(cumulus_job=".ssh"),
        drive(cumulus_job="a" * 300),
        drive(cumulus_storage=""),
        drive(cumulus_storage="host"),
        drive(cumulus_storage="host;reboot 2049"),
        drive(cumulus_storage="host 2049 x"),
        drive(cumulus_worker=""),
    ],
)
def test_orders_that_nobody_could_obey_are_an_error_and_not_half_obeyed(text: str) -> None:
    with pytest.raises(RunnerError):
        given.given_in(text)


def test_a_machine_without_a_config_drive_waits_for_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given, "DEVICES", ("/nowhere/config-2",))
    assert given.read_given() is None


def test_what_is_no_drive_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"nothing of a file system")
    monkeypatch.setattr(given, "DEVICES", (str(tmp_path / "disk"),))
    monkeypatch.setattr(given, "PLACE", str(tmp_path / "own" / "config"))
    with pytest.raises(RunnerError, match="cannot be mounted"):
        given.read_given()


def test_a_storage_that_comes_up_late_is_waited_for_and_one_that_does_not_is_told() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        with pytest.raises(RunnerError, match=f"the storage at 127.0.0.1:{port} does not answer: Connection refused"):
            given.await_server("127.0.0.1", port, 0.2)
        late = Timer(0.3, server.listen)
        late.start()
        given.await_server("127.0.0.1", port, 20)
        late.join()


@pytest.mark.parametrize("text", ["", "{", '{"v1": {"init": {"finished": null}}}'])
def test_a_disk_that_cloud_init_has_not_given_its_size_is_waited_for(tmp_path: Path, text: str) -> None:
    status, waited = tmp_path / "status.json", []
    (tmp_path / "enabled").touch()
    status.write_text(text)
    given.await_disk(str(tmp_path), 0.3)  # for ever it is not
    later = Timer(0.3, lambda: (waited.append(1), status.write_text('{"v1": {"init": {"finished": 17.5}}}')))
    later.start()
    given.await_disk(str(tmp_path), 20)
    wait_until(lambda: waited)
    later.join()
    assert waited


def test_where_no_cloud_init_is_at_work_nothing_is_waited_for(tmp_path: Path) -> None:
    given.await_disk(str(tmp_path), 20)
