"""What ``/metrics`` tells of the loop."""

import threading

from server.app import Controller
from server.application import create_app
from tests.conftest import eventually


def metrics(controller: Controller) -> dict[str, float]:
    text = create_app(controller).test_client().get("/metrics").text
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")}


def test_each_turn_of_the_loop_is_timed(controller: Controller) -> None:
    assert metrics(controller)["cumulus_loop_turn_seconds_count"] == 0
    thread = threading.Thread(target=controller.loop.run, daemon=True)
    thread.start()
    eventually(lambda: metrics(controller)["cumulus_loop_turn_seconds_count"] >= 1)
    controller.loop.stop(grace_s=10)
    thread.join(10)
    found = metrics(controller)
    assert 0 < found["cumulus_loop_turn_seconds_sum"] < 60
    assert found['cumulus_loop_turn_seconds_bucket{le="+Inf"}'] == found["cumulus_loop_turn_seconds_count"]
