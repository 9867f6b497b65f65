"""Times as people read them."""

from datetime import datetime


def local_time(at: float) -> str:
    """Unix seconds as a date and a time of day here, with the zone."""
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def time_for_programs(at: float) -> str:
    """The same without the zone: the format that programs have read from the first version on."""
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"
