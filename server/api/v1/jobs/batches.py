"""The operations on batches."""

from cumulus_client import batches as api
from cumulus_client.operations import Done
from server.api.v1.binding import bound, rows_alone
from server.services.principal import Principal
from server.services.services import Services


def _check(services: Services, who: Principal, asked: api.NewBatch) -> api.BatchPlan:
    return services.batches.check(who, asked)


def _create(services: Services, who: Principal, asked: api.NewBatch) -> api.Submitted:
    return services.batches.submit(who, asked)


def _list(services: Services, who: Principal, asked: api.BatchesQuery) -> api.BatchList:
    return services.batch_lookup.newest(who, asked)


def _get(services: Services, who: Principal, asked: api.BatchQuery) -> api.BatchDetails:
    return services.batch_lookup.details(who, asked)


def _cancel(services: Services, who: Principal, asked: api.OneBatch) -> Done:
    return Done(message=services.batches.cancel(who, asked.batch))


def _retry(services: Services, who: Principal, asked: api.OneBatch) -> api.Submitted:
    return services.batches.retry(who, asked.batch)


def _delete(services: Services, who: Principal, asked: api.OneBatch) -> Done:
    return Done(message=services.batches.delete(who, asked.batch))


OPERATIONS = (
    bound(api.CHECK, _check),
    bound(api.CREATE, _create),
    bound(api.LIST, _list, rows_alone),
    bound(api.GET, _get, rows_alone),
    bound(api.CANCEL, _cancel),
    bound(api.RETRY, _retry),
    bound(api.DELETE, _delete),
)
