"""How many files this process may open, and so how many connections it can take. Owns the soft limit."""

import sys

from programs.errors import Expected

FILES_PER_CONNECTION = 2  # its socket; and the file that it sends, or what arrives and is too long for memory
FEWEST = 16
WITHOUT_POLL = 400  # connections that select() can look at on Windows, less a reserve


class TooFewFiles(Expected):
    """The system lets this process open too few files."""

    code = "too_few_files"


def connections_for(wanted: int, reserve: int) -> int:
    """How many of the connections wanted there can be beside ``reserve`` files. Raises TooFewFiles, with what to do.

    The soft limit is raised as far as that needs and the hard one permits, and no further: children inherit it, and some
    programs look at every number up to it.
    """
    if sys.platform == "win32":
        return min(wanted, WITHOUT_POLL)
    import resource

    needed = reserve + FILES_PER_CONNECTION * wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = wanted if soft == resource.RLIM_INFINITY else min(wanted, (soft - reserve) // FILES_PER_CONNECTION)
    if found < min(FEWEST, wanted):
        least = reserve + FILES_PER_CONNECTION * FEWEST
        text = f"only {soft} files may be open at a time, and {least} are needed at least"
        raise TooFewFiles(
            f"{text}: raise the hard limit (`ulimit -Hn`, or LimitNOFILE= of the systemd unit), {needed} are enough"
        )
    return found
