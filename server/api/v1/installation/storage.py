"""The operations on the shared storage."""

from cumulus_client import storage as api
from cumulus_client.operations import Done, Nothing
from server.api.v1.binding import bound
from server.services.principal import Principal
from server.services.services import Services


def _usage(services: Services, who: Principal, _asked: Nothing) -> api.StorageUsage:
    return services.administration.storage().usage(who)


def _plan(services: Services, who: Principal, asked: api.PlanRequest) -> api.CleaningPlan:
    return services.administration.storage().plan(who, is_dry=asked.is_dry)


def _clean(services: Services, who: Principal, asked: api.CleaningRequest) -> api.Cleaned:
    return services.administration.storage().clean(who, asked.plan)


def _trash(services: Services, who: Principal, _asked: Nothing) -> api.TrashList:
    return api.TrashList(entries=services.administration.storage().trash(who))


def _restore(services: Services, who: Principal, asked: api.RestoreRequest) -> Done:
    return Done(message=services.administration.storage().restore(who, asked.name))


OPERATIONS = (
    bound(api.USAGE, _usage),
    bound(api.PLAN, _plan),
    bound(api.CLEAN, _clean),
    bound(api.TRASH, _trash),
    bound(api.RESTORE, _restore),
)
