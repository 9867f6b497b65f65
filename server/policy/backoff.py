"""How long to wait before something that failed is tried again. Pure."""

MAX_BACKOFF_S = 600.0


def backoff_s(first_s: float, failures: int) -> float:
    """Seconds to wait after that many failures in a row: doubled each time, ten minutes at most."""
    return min(first_s * 2.0 ** min(failures - 1, 20), MAX_BACKOFF_S)
