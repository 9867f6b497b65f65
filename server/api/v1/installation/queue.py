"""The operations on the queue."""

from cumulus_client import queue as api
from cumulus_client.operations import Done, Nothing
from server.api.v1.binding import bound
from server.services.principal import Principal
from server.services.services import Services


def _get(services: Services, who: Principal, _asked: Nothing) -> api.QueueState:
    return services.administration.queue.view(who)


def _drained(services: Services, who: Principal, _asked: Nothing) -> api.Drained:
    return services.administration.queue.drained(who)


def _drain(services: Services, who: Principal, asked: api.DrainRequest) -> api.Drained:
    return services.administration.queue.drain(who, asked.reason)


def _resume(services: Services, who: Principal, _asked: Nothing) -> Done:
    return Done(message=services.administration.queue.resume(who))


def _prioritize(services: Services, who: Principal, asked: api.PriorityRequest) -> Done:
    return Done(message=services.administration.queue.set_priority(who, asked.job, asked.priority))


OPERATIONS = (
    bound(api.GET, _get),
    bound(api.DRAINED, _drained),
    bound(api.DRAIN, _drain),
    bound(api.RESUME, _resume),
    bound(api.PRIORITIZE, _prioritize),
)
