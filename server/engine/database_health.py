"""Whether the loop and its steps can use the database; a damaged one is reported until a turn of the loop succeeds."""

import structlog

from programs.database.sqlite import is_damaged
from server.db.models import DatabaseDamaged, DatabaseLost, DatabaseUnusable, unusable

log = structlog.get_logger()


class DatabaseHealth:
    """The health of one controller's database. ``damage``: what was last met, None while the database is sound."""

    def __init__(self) -> None:
        self.damage: DatabaseDamaged | DatabaseLost | DatabaseUnusable | None = None

    def failed(self, problem: Exception, **fields: object) -> None:
        """Log one line: the database is busy or its disk full, which may pass; or it is damaged, which is remembered."""
        if is_damaged(problem):
            damage = unusable(problem)
            log.error("the database cannot be used", code=damage.code, detail=damage.message, **fields)
            self.damage = damage
        else:
            log.warning("the database cannot be used", detail=str(problem), **fields)

    def succeeded(self) -> None:
        """A turn of the loop has succeeded."""
        self.damage = None
