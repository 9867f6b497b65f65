"""The operations on users, and the one that says who asks."""

from cumulus_client import users as api
from cumulus_client.operations import Done, Nothing
from server.api.v1.binding import bound
from server.services.accounts.links import link_url
from server.services.accounts.users import NewUser, UserChanges
from server.services.principal import Principal
from server.services.services import Services


def _me(_services: Services, who: Principal, _asked: Nothing) -> api.Me:
    return api.Me(
        name=who.name,
        roles=sorted(who.roles),
        scopes=sorted(who.scopes),
        established=who.established,
        team=sorted(who.team | who.managed),
        token=who.token_id,
    )


def _list(services: Services, who: Principal, _asked: Nothing) -> api.UserList:
    return api.UserList(users=[_shown(one) for one in services.accounts.users.list(who)])


def _get(services: Services, who: Principal, asked: api.OneUser) -> api.User:
    return _shown(services.accounts.users.get(who, asked.user))


def _create(services: Services, who: Principal, asked: api.NewUser) -> api.User:
    return _shown(services.accounts.users.create(who, NewUser(**asked.model_dump())))


def _change(services: Services, who: Principal, asked: api.UserChanges) -> api.User:
    given = asked.model_dump(exclude={"user"}, exclude_unset=True)
    changes = UserChanges(**given, no_quota="quota_gb" in given and asked.quota_gb is None)
    return _shown(services.accounts.users.change(who, asked.user, changes))


def _password(services: Services, who: Principal, asked: api.NewPassword) -> Done:
    services.accounts.users.set_password(who, asked.user, asked.new, asked.old)
    return Done(message=f"{asked.user} has a new password; all sessions of the user have ended")


def _invite(services: Services, who: Principal, asked: api.OneUser) -> api.Invitation:
    made = services.accounts.links.invite(who, asked.user)
    return api.Invitation(url=link_url(services.wiring.url(), made.secret), expires=made.expires)


def _disable(services: Services, who: Principal, asked: api.OneUser) -> api.User:
    return _shown(services.accounts.users.disable(who, asked.user))


def _enable(services: Services, who: Principal, asked: api.OneUser) -> api.User:
    return _shown(services.accounts.users.enable(who, asked.user))


def _delete(services: Services, who: Principal, asked: api.OneUser) -> Done:
    services.accounts.users.delete(who, asked.user)
    return Done(message=f"{asked.user} is no user any more")


def _shown(view: object) -> api.User:
    return api.User.model_validate(view, from_attributes=True)


OPERATIONS = (
    bound(api.ME, _me),
    bound(api.LIST, _list),
    bound(api.GET, _get),
    bound(api.CREATE, _create, records_itself=True),
    bound(api.CHANGE, _change, records_itself=True),
    bound(api.PASSWORD, _password, records_itself=True),
    bound(api.INVITE, _invite, records_itself=True),
    bound(api.DISABLE, _disable, records_itself=True),
    bound(api.ENABLE, _enable, records_itself=True),
    bound(api.DELETE, _delete, records_itself=True),
)
