"""The operations on groups."""

from cumulus_client import groups as api
from cumulus_client.operations import Done, Nothing
from server.api.v1.binding import bound
from server.services.accounts.groups import GroupChanges
from server.services.principal import Principal
from server.services.services import Services


def _list(services: Services, who: Principal, _asked: Nothing) -> api.GroupList:
    return api.GroupList(groups=[_shown(one) for one in services.accounts.groups.list(who)])


def _get(services: Services, who: Principal, asked: api.OneGroup) -> api.Group:
    return _shown(services.accounts.groups.get(who, asked.group))


def _create(services: Services, who: Principal, asked: api.NewGroup) -> api.Group:
    made = services.accounts.groups.create(who, asked.name, shares_jobs=asked.shares_jobs, quota_gb=asked.quota_gb)
    return _shown(made)


def _change(services: Services, who: Principal, asked: api.GroupChanges) -> api.Group:
    has_no_quota = "quota_gb" in asked.model_fields_set and asked.quota_gb is None
    changes = GroupChanges(shares_jobs=asked.shares_jobs, quota_gb=asked.quota_gb, no_quota=has_no_quota)
    return _shown(services.accounts.groups.change(who, asked.group, changes))


def _delete(services: Services, who: Principal, asked: api.OneGroup) -> Done:
    services.accounts.groups.delete(who, asked.group)
    return Done(message=f"there is no group {asked.group} any more; its members stay users")


def _add(services: Services, who: Principal, asked: api.Membership) -> api.Group:
    return _shown(services.accounts.groups.add_member(who, asked.group, asked.user, is_manager=asked.is_manager))


def _remove(services: Services, who: Principal, asked: api.OneMember) -> api.Group:
    return _shown(services.accounts.groups.remove_member(who, asked.group, asked.user))


def _shown(view: object) -> api.Group:
    return api.Group.model_validate(view, from_attributes=True)


OPERATIONS = (
    bound(api.LIST, _list),
    bound(api.GET, _get),
    bound(api.CREATE, _create, records_itself=True),
    bound(api.CHANGE, _change, records_itself=True),
    bound(api.DELETE, _delete, records_itself=True),
    bound(api.ADD, _add, records_itself=True),
    bound(api.REMOVE, _remove, records_itself=True),
)
