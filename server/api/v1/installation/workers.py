"""The operations on machines."""

from cumulus_client import workers as api
from cumulus_client.jobs import OneJob
from cumulus_client.operations import Nothing
from server.api.v1.binding import bound
from server.services.principal import Principal
from server.services.services import Services


def _list(services: Services, who: Principal, _asked: Nothing) -> api.WorkerList:
    return api.WorkerList(workers=services.administration.machines.listed(who))


def _hold(services: Services, who: Principal, asked: api.HoldRequest) -> api.Held:
    return services.administration.machines.hold(who, asked.job, asked.hours)


def _release(services: Services, who: Principal, asked: OneJob) -> api.Held:
    return services.administration.machines.release(who, asked.job)


def _orphans(services: Services, who: Principal, _asked: Nothing) -> api.OrphanList:
    return api.OrphanList(orphans=services.administration.machines.orphans(who))


def _remove_orphans(services: Services, who: Principal, _asked: Nothing) -> api.OrphanList:
    return api.OrphanList(orphans=services.administration.machines.remove_orphans(who))


def _quota(services: Services, who: Principal, _asked: Nothing) -> api.QuotaList:
    return services.administration.machines.quotas(who)


OPERATIONS = (
    bound(api.LIST, _list),
    bound(api.HOLD, _hold),
    bound(api.RELEASE, _release),
    bound(api.ORPHANS, _orphans),
    bound(api.REMOVE_ORPHANS, _remove_orphans),
    bound(api.QUOTA, _quota),
)
