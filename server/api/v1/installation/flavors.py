"""The operations on machine sizes."""

from cumulus_client import flavors as api
from cumulus_client.operations import Nothing
from server.api.v1.binding import bound
from server.services.principal import Principal
from server.services.services import Services


def _list(services: Services, who: Principal, asked: api.FlavorQuery) -> api.FlavorList:
    return services.administration.flavors.listed(who, with_quota=asked.with_quota)


def _compare(services: Services, who: Principal, _asked: Nothing) -> api.FlavorComparison:
    return services.administration.flavors.compared(who, write=False)


def _sync(services: Services, who: Principal, _asked: Nothing) -> api.FlavorComparison:
    return services.administration.flavors.compared(who, write=True)


OPERATIONS = (bound(api.LIST, _list), bound(api.COMPARE, _compare), bound(api.SYNC, _sync))
