"""The operations on workflows."""

from cumulus_client import workflows as api
from cumulus_client.operations import Nothing
from server.api.v1.binding import bound
from server.services.principal import Principal
from server.services.services import Services


def _list(services: Services, who: Principal, _asked: Nothing) -> api.WorkflowList:
    return api.WorkflowList(workflows=services.apps.workflows(who))


def _get(services: Services, who: Principal, asked: api.OneWorkflow) -> api.Workflow:
    return services.apps.workflow(who, asked.workflow)


OPERATIONS = (bound(api.LIST, _list), bound(api.GET, _get))
