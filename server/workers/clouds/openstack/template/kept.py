"""One snapshot of the template as the cloud records it, and the metadata words of all that belongs to a template."""

from dataclasses import dataclass
from datetime import UTC, datetime

from server.workers.clouds.smoke_results import AppResult, NoResults, RecordedResults, SmokeResults

SERVER_ID, TEMPLATE = "cumulus_server", "cumulus_template"
PROMOTED, BUILD_HASH, PROGRAMS = "cumulus_promoted", "cumulus_recipe", "cumulus_programs"
# How many apps ran, and what each of them said: its command's digest and its version, under the digest of its id.
APPS, APP = "cumulus_apps", "cumulus_app_"
READY = "available"
GOING = frozenset({"deleting", "error_deleting"})
ON_ITS_WAY = frozenset({"creating", "deleting", "backing-up", "unmanaging", "restoring"})
METADATA_LIMIT = 255  # characters of one value


@dataclass(frozen=True)
class Kept:
    """One snapshot of the template. ``size_gb``: of its volume; ``created``, ``promoted``: Unix seconds, 0 never."""

    identifier: str
    name: str
    status: str
    size_gb: int
    created: float
    promoted: float
    metadata: dict[str, str]

    @property
    def owner(self) -> str:
        """Id of the installation that made it; "" where nobody wrote it down."""
        return self.metadata.get(SERVER_ID, "")

    @property
    def build_hash(self) -> str:
        """What its template was made from; "" where that was not recorded."""
        return self.metadata.get(BUILD_HASH, "")

    def has_program(self, name: str) -> bool:
        """Whether a machine of it has the program; True where nobody looked."""
        programs = self.metadata.get(PROGRAMS)
        return programs is None or name in programs.split(",")

    @property
    def smoke_results(self) -> SmokeResults:
        """Whose version command succeeded on a machine of it."""
        if APPS not in self.metadata:
            return NoResults()
        apps = {name.removeprefix(APP): text.partition(" ") for name, text in self.metadata.items() if name.startswith(APP)}
        return RecordedResults({app: AppResult(command, version) for app, (command, _, version) in apps.items()})


def number_in(name: str) -> int:
    """The number at the end of a name; 0 where there is none."""
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def brief(tried: AppResult) -> str:
    """An app's answer as a value of metadata; plain ASCII, since not every cloud's database takes more."""
    version = tried.version.encode("ascii", "backslashreplace").decode()
    return f"{tried.command} {version}"[:METADATA_LIMIT]


def promoted_in(metadata: dict[str, str]) -> float:
    """When what carries it was promoted, Unix seconds; 0 never."""
    return _number(metadata.get(PROMOTED))


def seconds_of(moment: str | None) -> float:
    """Unix seconds. Cinder tells UTC without saying so."""
    if not moment:
        return 0.0
    parsed = datetime.fromisoformat(moment)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
