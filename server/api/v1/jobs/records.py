"""The operations on records of runs."""

from cumulus_client import records as api
from cumulus_client.jobs import OneJob
from server.api.v1.binding import bound
from server.services.principal import Principal
from server.services.records.service import record_json
from server.services.services import Services


def _get(services: Services, who: Principal, asked: OneJob) -> api.JobRecord:
    return api.JobRecord(record=record_json(services.records.record(who, asked.job)))


def _compare(services: Services, who: Principal, asked: api.TwoJobs) -> api.Comparison:
    return services.records.compared(who, asked.job, asked.other)


def _plan(services: Services, who: Principal, asked: api.RerunQuery) -> api.RerunPlan:
    return services.records.plan(who, asked.job, asked.flavor, services.cloud)


OPERATIONS = (bound(api.GET, _get), bound(api.COMPARE, _compare), bound(api.PLAN, _plan))
