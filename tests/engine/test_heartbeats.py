"""For how long nothing was heard of a job."""

from server.engine.monitoring.heartbeats import Heartbeats

KEY = (1, 1)


def test_silence_is_counted_from_the_last_change_that_was_seen() -> None:
    now = [100.0]
    pulse = Heartbeats(lambda: now[0])
    assert pulse.quiet_s(KEY, None) == 0
    now[0] = 130
    assert pulse.quiet_s(KEY, None) == 30
    assert pulse.quiet_s(KEY, 5.0) == 0
    now[0] = 145
    assert pulse.quiet_s(KEY, 5.0) == 15


def test_the_storage_s_own_clock_may_be_anything() -> None:
    now = [0.0]
    pulse = Heartbeats(lambda: now[0])
    for beat in (9e9, 1.0, 5e8):
        now[0] += 15
        assert pulse.quiet_s(KEY, beat) == 0


def test_who_is_forgotten_begins_anew() -> None:
    now = [0.0]
    pulse = Heartbeats(lambda: now[0])
    pulse.quiet_s(KEY, 1.0)
    pulse.quiet_s((2, 1), 1.0)
    now[0] = 50
    pulse.keep_only({(2, 1)})
    assert pulse.quiet_s(KEY, 1.0) == 0
    assert pulse.quiet_s((2, 1), 1.0) == 50
