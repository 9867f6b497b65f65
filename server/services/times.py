"""Times as people read them."""

from datetime import datetime


def local_time(at: float) -> str:
    """Unix seconds as a date and a time of day here, with the zone."""
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S %Z}"
