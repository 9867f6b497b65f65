"""The operations on API tokens."""

from cumulus_client import tokens as api
from server.api.v1.binding import bound
from server.errors import InvalidInput
from server.services.accounts.views import NewToken
from server.services.principal import Principal
from server.services.services import Services


def _list(services: Services, who: Principal, asked: api.TokensQuery) -> api.TokenList:
    found = services.accounts.tokens.list(who, everybodys=asked.everybody)
    return api.TokenList(tokens=[api.Token.model_validate(one, from_attributes=True) for one in found])


def _create(services: Services, who: Principal, asked: api.TokenRequest) -> api.NewToken:
    made = _made(services, who, asked)
    shown = api.Token.model_validate(made.view, from_attributes=True)
    return api.NewToken(**shown.model_dump(), text=made.text)


def _made(services: Services, who: Principal, asked: api.TokenRequest) -> NewToken:
    if not asked.for_agent:
        return services.accounts.tokens.create(who, asked.name, asked.scopes, days=asked.days, owner=asked.owner or "")
    if asked.owner:
        raise InvalidInput("an agent's token is no user's: give one of both", field="owner")
    return services.accounts.tokens.create_for_agent(who, asked.name, days=asked.days)


def _revoke(services: Services, who: Principal, asked: api.OneToken) -> api.Token:
    return api.Token.model_validate(services.accounts.tokens.revoke(who, asked.token), from_attributes=True)


OPERATIONS = (
    bound(api.LIST, _list),
    bound(api.CREATE, _create, records_itself=True),
    bound(api.REVOKE, _revoke, records_itself=True),
)
