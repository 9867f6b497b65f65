"""The operation that lists the audit."""

from cumulus_client import audit as api
from server.api.v1.binding import bound
from server.services.accounts.audit import AuditFilters
from server.services.principal import Principal
from server.services.services import Services


def _list(services: Services, who: Principal, asked: api.AuditQuery) -> api.AuditList:
    filters = AuditFilters(**asked.model_dump(exclude={"before", "limit"}))
    found = services.accounts.audit.find(who, filters, asked.before, asked.limit)
    entries = [api.AuditEntry.model_validate(one, from_attributes=True) for one in found]
    return api.AuditList(entries=entries, before=entries[-1].id if len(entries) == asked.limit else None)


OPERATIONS = (bound(api.LIST, _list),)
