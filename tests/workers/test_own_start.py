"""Waiting for a machine that starts its job by itself: until it has, or has to be told."""

from dataclasses import dataclass, field

import pytest

from server.workers.own_start import PATIENCE_S, OwnStart


@dataclass
class Booting:
    """A machine whose sshd answers from ``listens_at`` on, and whose job begins at ``begins_at``; time goes by what is waited."""

    listens_at: float = 1e9
    begins_at: float = 1e9
    unwanted_at: float = 1e9
    now: float = 100.0
    connected: list[float] = field(default_factory=list)

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def connects(self, host: str, port: int) -> bool:
        assert (host, port) == ("10.0.0.7", 22)
        self.connected.append(self.now)
        return self.now >= 100 + self.listens_at

    def awaited(self, limit_s: float = 600.0) -> bool:
        own = OwnStart(lambda: self.now, self.pause, self.connects)
        return own.awaited(
            "10.0.0.7", 22, lambda: self.now >= 100 + self.begins_at, lambda: self.now >= 100 + self.unwanted_at, limit_s
        )


@pytest.mark.parametrize("listens_at", [1e9, 3.0, 24.0])
def test_a_job_that_begins_is_seen_at_once_whether_or_not_the_machine_takes_logins(listens_at: float) -> None:
    machine = Booting(listens_at=listens_at, begins_at=min(20.0, listens_at + 10))
    assert machine.awaited()
    assert machine.now - 100 == pytest.approx(machine.begins_at, abs=0.2)


def test_a_job_that_has_begun_already_is_not_waited_for() -> None:
    machine = Booting(begins_at=0)
    assert machine.awaited()
    assert (machine.now, machine.connected) == (100.0, [])


def test_a_machine_that_takes_logins_and_does_not_begin_is_told_after_a_while() -> None:
    machine = Booting(listens_at=5)
    assert not machine.awaited()
    assert machine.now - 100 == pytest.approx(5 + PATIENCE_S, abs=1.3)


def test_a_machine_is_not_looked_at_again_once_it_takes_connections_and_once_a_second_before() -> None:
    machine = Booting(listens_at=5)
    machine.awaited()
    assert len(machine.connected) <= 7


def test_a_machine_that_never_answers_is_given_up_at_its_limit() -> None:
    machine = Booting()
    assert not machine.awaited(60)
    assert machine.now - 100 == pytest.approx(60, abs=0.3)


def test_nobody_waits_for_what_nobody_wants() -> None:
    machine = Booting(unwanted_at=2)
    assert not machine.awaited()
    assert machine.now - 100 == pytest.approx(2, abs=0.2)
