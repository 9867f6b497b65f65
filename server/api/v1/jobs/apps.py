"""The operations on apps."""

from cumulus_client import apps as api
from cumulus_client.operations import Nothing
from server.api.v1.binding import bound
from server.services.principal import Principal
from server.services.services import Services


def _list(services: Services, who: Principal, _asked: Nothing) -> api.AppList:
    return api.AppList(apps=services.apps.listed(who, services.missing_apps()))


def _get(services: Services, who: Principal, asked: api.OneApp) -> api.AppDetails:
    services.apps.get(who, asked.app)
    return services.apps.details(who, asked.app, services.missing_apps())


def _form(services: Services, who: Principal, asked: api.OneApp) -> api.Form:
    return services.apps.form(who, asked.app)


def _preview(services: Services, who: Principal, asked: api.PreviewQuery) -> api.Preview:
    return services.apps.preview(who, asked.app, asked.settings, asked.cpus)


OPERATIONS = (bound(api.LIST, _list), bound(api.GET, _get), bound(api.FORM, _form), bound(api.PREVIEW, _preview))
