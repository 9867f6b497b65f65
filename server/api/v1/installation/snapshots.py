"""The operations on the template's snapshots."""

import structlog

from cumulus_client import snapshots as api
from cumulus_client.operations import Done, Nothing
from server.api.v1.binding import bound
from server.progress import Lines
from server.services.principal import Principal
from server.services.services import Services

PATIENCE_S = 3.0  # what ends sooner is not worth a line in the log
log = structlog.get_logger()


def _list(services: Services, who: Principal, _asked: Nothing) -> api.SnapshotList:
    return api.SnapshotList(snapshots=services.administration.snapshots.listed(who))


def _roll_back(services: Services, who: Principal, _asked: Nothing) -> Done:
    return Done(message=services.administration.snapshots.roll_back(who))


def _prune(services: Services, who: Principal, asked: api.PruneRequest) -> api.Pruned:
    progress = Lines(lambda text: log.info("pruning snapshots", step=text), patience_s=PATIENCE_S)
    return api.Pruned(removed=services.administration.snapshots.prune(who, asked.keep, progress))


OPERATIONS = (bound(api.LIST, _list), bound(api.ROLL_BACK, _roll_back), bound(api.PRUNE, _prune))
