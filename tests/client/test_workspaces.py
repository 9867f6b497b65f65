"""Asking about many workspaces at once, without a controller."""

import threading
import time
from typing import Any

import pytest

from cumulus_client.errors import Problem, Refused, Unreachable
from cumulus_client.workspaces import AT_ONCE, LONGEST_DRIFT_S, NAME, Drift, DriftQuery, Workspaces
from server.workers.terraform.state_store import WORKSPACE


class Asked:
    """Answers about drift as the test says."""

    def __init__(self, pause_s: float = 0.0, failures: dict[str, Exception] | None = None) -> None:
        self.requests: list[DriftQuery] = []
        self.most = self.now = 0
        self._pause_s = pause_s
        self._failures = failures or {}
        self._lock = threading.Lock()

    def call(self, _operation: object, request: Any) -> Any:
        with self._lock:
            self.requests.append(request)
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self._pause_s)
        with self._lock:
            self.now -= 1
        if failure := self._failures.get(request.name):
            raise failure
        return Drift(found="none")

    def download(self, *_arguments: object) -> Any:
        raise NotImplementedError


def test_only_a_few_are_asked_about_at_once_and_each_is_heard() -> None:
    asked, heard = Asked(0.02), dict[str, Drift]()
    names = [f"job-{number}" for number in range(1, 21)]
    found = Workspaces(asked).drifts(names, 60, heard.__setitem__)
    assert (list(found), heard) == (names, found)
    assert {one.found for one in found.values()} == {"none"}
    assert asked.most == AT_ONCE
    assert all(0 < one.limit_s <= 60 for one in asked.requests)


def test_what_there_is_no_time_for_is_not_asked() -> None:
    asked = Asked()
    found = Workspaces(asked).drifts(["job-1"], 0)
    assert found["job-1"] == Drift(found="unknown", text="the time for the look at all of them was over")
    assert asked.requests == []


def test_one_that_has_gone_meanwhile_spoils_no_other() -> None:
    gone = Refused(Problem(404, "not_found", "there is no workspace job-1", "name"))
    found = Workspaces(Asked(failures={"job-1": gone})).drifts(["job-1", "job-2"], 9)
    assert found == {"job-1": Drift(found="unknown", text="there is no workspace job-1"), "job-2": Drift(found="none")}


def test_a_controller_that_does_not_answer_ends_the_asking() -> None:
    failures: dict[str, Exception] = {"job-1": Unreachable("nobody answers")}
    with pytest.raises(Unreachable):
        Workspaces(Asked(failures=failures)).drifts(["job-1", "job-2"], 9)


def test_a_single_plan_takes_no_longer_than_the_server_allows() -> None:
    asked = Asked()
    Workspaces(asked).drift("job-1", 86_400)
    assert asked.requests[0].limit_s == LONGEST_DRIFT_S


@pytest.mark.parametrize("name", ["", "../x", "job-1/..", "-rf", "job 1", "Job-1", "job-1\n", "a" * 80, "job-1\x1b[2J"])
def test_what_can_be_no_name_is_never_sent(name: str) -> None:
    asked = Asked()
    workspaces = Workspaces(asked)
    for act in (workspaces.lock, workspaces.unlock, workspaces.forget, workspaces.destroy, workspaces.removal, workspaces.drift):
        with pytest.raises(Refused, match="cannot be a workspace's name") as refused:
            act(name)
        assert (refused.value.problem.field, refused.value.message.isprintable()) == ("name", True)
    assert asked.requests == []


def test_names_are_what_terraforms_states_are_named_by() -> None:
    assert WORKSPACE.pattern == NAME
