"""The operations on jobs."""

from cumulus_client import jobs as api
from cumulus_client.operations import Done
from server.api.v1.binding import bound, rows_alone
from server.services.principal import Principal
from server.services.services import Services


def _list(services: Services, who: Principal, asked: api.JobsQuery) -> api.JobList:
    return api.JobList(jobs=services.lookup.newest(who, asked.owner, asked.limit or None))


def _get(services: Services, who: Principal, asked: api.OneJob) -> api.JobDetails:
    return services.lookup.details(who, asked.job)


def _cancel(services: Services, who: Principal, asked: api.OneJob) -> Done:
    return Done(message=services.jobs.cancel(who, asked.job))


OPERATIONS = (bound(api.LIST, _list, rows_alone), bound(api.GET, _get), bound(api.CANCEL, _cancel))
