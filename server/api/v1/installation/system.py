"""The operation on the installation itself."""

from cumulus_client import system as api
from cumulus_client.operations import Nothing
from server.api.v1.binding import bound
from server.services.principal import Principal
from server.services.services import Services


def _get(services: Services, who: Principal, _asked: Nothing) -> api.Installation:
    return services.administration.system.view(who)


OPERATIONS = (bound(api.GET, _get),)
