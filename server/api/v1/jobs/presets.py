"""The operations on presets."""

from cumulus_client import presets as api
from cumulus_client.operations import Done
from server.api.v1.binding import bound
from server.services.principal import Principal
from server.services.services import Services


def _list(services: Services, who: Principal, asked: api.PresetsQuery) -> api.PresetList:
    return services.presets.list(who, asked.app)


def _get(services: Services, who: Principal, asked: api.PresetQuery) -> api.FittedPreset:
    return services.presets.get(who, asked.name, asked.app, asked.group)


def _save(services: Services, who: Principal, asked: api.NewPreset) -> api.Preset:
    return services.presets.save(who, asked)


def _delete(services: Services, who: Principal, asked: api.OnePreset) -> Done:
    return Done(message=services.presets.delete(who, asked.name, asked.group))


OPERATIONS = (bound(api.LIST, _list), bound(api.GET, _get), bound(api.SAVE, _save), bound(api.DELETE, _delete))
