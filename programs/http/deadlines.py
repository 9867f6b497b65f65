"""Which connections have taken too long, and which make room for others. Times are seconds of the server's clock."""

from programs.http.channels import Channel, Phase

LINGER_S = 2.0  # a sender whose request is refused may continue for so long before it is cut off, so that it reads why
FRESH_S = 2.0  # a new connection may take so long to send something before it counts as idle


def end_if_overdue(channel: Channel, now: float) -> None:
    """Keep a connection to the limits of what it is doing."""
    limits, phase = channel.server.limits, channel.phase
    began, quiet = now - channel.since, now - channel.heard
    match phase:
        case Phase.HEADER if began > limits.header_s:
            channel.give_up()
        case Phase.BODY if began > limits.body_s or quiet > limits.idle_s:
            channel.give_up()
        case Phase.LINGER if began > LINGER_S:
            channel.handle_close()
        case Phase.IDLE if began > limits.idle_s:
            channel.handle_close()
        case Phase.ANSWER if quiet > limits.idle_s:
            channel.handle_close()


def worth(channel: Channel, now: float) -> tuple[bool, bool, float]:
    """The order in which connections are closed when there is no more room: idle, then slow, and last those being served."""
    phase = channel.phase
    is_idle = phase is Phase.LINGER or (phase is Phase.IDLE and now - channel.since > FRESH_S)
    return phase is Phase.WORK, not is_idle, channel.heard if phase is Phase.ANSWER else channel.since


def kept_bytes(channel: Channel) -> int:
    """Bytes of bodies that are kept for a connection, whole or in part."""
    return sum(one.body_bytes_received for one in (*channel.requests, channel.request) if one is not None)
