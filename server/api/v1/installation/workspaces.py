"""The operations on Terraform's workspaces."""

from cumulus_client import workspaces as api
from cumulus_client.operations import Nothing
from server.api.v1.binding import bound
from server.services.principal import Principal
from server.services.services import Services


def _list(services: Services, who: Principal, _asked: Nothing) -> api.WorkspaceList:
    return services.administration.workspaces.listed(who)


def _drift(services: Services, who: Principal, asked: api.DriftQuery) -> api.Drift:
    return services.administration.workspaces.drift(who, asked.name, asked.limit_s)


def _lock(services: Services, who: Principal, asked: api.OneWorkspace) -> api.LockedState:
    return api.LockedState(lock=services.administration.workspaces.lock(who, asked.name))


def _unlock(services: Services, who: Principal, asked: api.WorkspaceChange) -> api.Unlocked:
    return services.administration.workspaces.unlock(who, asked.name, force=asked.force)


def _forget(services: Services, who: Principal, asked: api.WorkspaceChange) -> api.Forgotten:
    return services.administration.workspaces.forget(who, asked.name, force=asked.force)


def _destroy(services: Services, who: Principal, asked: api.WorkspaceChange) -> api.MachineRemoval:
    return services.administration.workspaces.destroy(who, asked.name, force=asked.force)


def _removal(services: Services, who: Principal, asked: api.OneWorkspace) -> api.MachineRemoval:
    return services.administration.workspaces.removal(who, asked.name)


OPERATIONS = (
    bound(api.LIST, _list),
    bound(api.DRIFT, _drift),
    bound(api.LOCK, _lock),
    bound(api.UNLOCK, _unlock),
    bound(api.FORGET, _forget),
    bound(api.DESTROY, _destroy),
    bound(api.REMOVAL, _removal),
)
