"""What people do with presets: list, show, save and delete them; a group's are seen by its members, changed by its managers."""

import json
from collections.abc import Callable
from typing import Any

from cumulus_client import presets as api
from cumulus_client.presets import MAX_PRESETS
from server.catalog.apps import Catalog
from server.catalog.model import App
from server.catalog.settings_text import parse_settings
from server.db.cached_sql import rows
from server.db.models import Preset
from server.db.transactions import exclusive
from server.db.upsert import replace_row
from server.db.views.groups import group_names, groups_of
from server.errors import InvalidInput, NotFound
from server.services.jobs.submission import require_owner
from server.services.presets.fitting import fitted
from server.services.principal import Forbidden, Principal, Role


class PresetService:
    """The presets of an installation whose database is open. ``clock``: Unix seconds."""

    def __init__(self, catalog: Catalog, clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self._clock = clock

    def list(self, principal: Principal, app: str = "") -> api.PresetList:
        """Those that the principal may use. ``app``: only of this app, in whatever version. Raises Forbidden, NotFound."""
        name = self._catalog.get(app).name if app else ""
        found = [row for row in _usable(principal) if not name or row.app_name == name]
        return api.PresetList(presets=[api.Preset(**_fields(row, principal)) for row in found])

    def get(self, principal: Principal, name: str, app: str = "", group: str = "") -> api.FittedPreset:
        """One preset with what of it fits the app ``app``; "": as it was saved.

        Raises Forbidden, NotFound, InvalidInput where it is another app's, or several groups have one of that name.
        """
        row = _found(principal, name, group)
        form = parse_settings(row.form)
        misfits: list[api.Misfit] = []
        if app:
            target = self._catalog.get(app)
            if target.name != row.app_name:
                text = f"the preset {name} is of {row.app_name} ({row.app}), not of {target.name}"
                raise InvalidInput(text, field="preset")
            form, misfits = fitted(target, form)
        fields = _fields(row, principal) | {"form": form}
        return api.FittedPreset(**fields, fitted_to=app or row.app, misfits=misfits)

    def save(self, principal: Principal, new: api.NewPreset) -> api.Preset:
        """Save a form in place of what had the name. Raises Forbidden, NotFound, InvalidInput that names the field."""
        owner, team = _whose(principal, new.group)
        app = self._catalog.get(new.app)
        parse_settings(json.dumps(new.form))  # bounded as the forms of jobs are
        _require_fitting(app, new.form)
        with exclusive():
            known = rows(Preset, "owner = ? AND team = ?", owner, team, without="form")
            if len(known) >= MAX_PRESETS and new.name not in {row.name for row in known}:
                raise InvalidInput(f"there are {MAX_PRESETS:,} presets already: delete one first", field="name")
            number = next((row.id for row in known if row.name == new.name), None)
            replace_row(
                Preset,
                **({} if number is None else {"id": number}),
                owner=owner,
                team=team,
                name=new.name,
                app=app.id,
                app_name=app.name,
                flavor=new.flavor,
                description=new.description.replace("\0", ""),
                form=json.dumps(new.form),
                changed=self._clock(),
                changed_by=principal.name,
            )
        return api.Preset(**_fields(_found(principal, new.name, new.group), principal))

    def delete(self, principal: Principal, name: str, group: str = "") -> str:
        """Delete a preset; returns a sentence. Raises Forbidden, NotFound."""
        row = _found(principal, name, group)
        if not _may_change(principal, row):
            raise Forbidden(f"the preset {name} is the group {row.team}'s: its managers may delete it", field="name")
        Preset.delete().where(Preset.id == row.id).execute()
        return f"Preset {name} is deleted"


def _usable(principal: Principal) -> list[Preset]:
    """The own presets and those of the own groups (of an administrator: of all), by name, the own one first."""
    principal.require(Role.USER)
    groups = sorted(group_names() if principal.is_administrator else groups_of(principal.name))
    marks = ", ".join("?" for _ in groups)
    shared = f" OR (owner = '' AND team IN ({marks}))" if groups else ""
    return rows(Preset, f"(owner = ? AND team = ''){shared} ORDER BY name, team", principal.name, *groups)


def _found(principal: Principal, name: str, group: str) -> Preset:
    """Raises NotFound, InvalidInput where several groups have one of that name."""
    named = [row for row in _usable(principal) if row.name == name and (not group or row.team == group)]
    if not named:
        of_group = f" of the group {group}" if group else ""
        raise NotFound(f"there is no preset {name}{of_group}; `cumulus preset list` lists them", field="name")
    if named[0].team and len(named) > 1:
        groups = ", ".join(row.team for row in named)
        raise InvalidInput(f"the groups {groups} each have a preset {name}: say which one's", field="group")
    return named[0]


def _whose(principal: Principal, group: str) -> tuple[str, str]:
    """Owner and team of a preset that the principal saves. Raises Forbidden, NotFound."""
    principal.require(Role.USER)
    if not group:
        return require_owner(principal.name), ""
    if group not in (group_names() if principal.is_administrator else groups_of(principal.name)):
        raise NotFound(f"there is no group {group} of yours", field="group")
    if not _manages(principal, group):
        raise Forbidden(f"only a manager of {group} may save its presets", field="group")
    return "", group


def _manages(principal: Principal, group: str) -> bool:
    return principal.is_administrator or groups_of(principal.name).get(group, False)


def _may_change(principal: Principal, row: Preset) -> bool:
    return row.owner == principal.name if row.owner else _manages(principal, row.team)


def _require_fitting(app: App, form: dict[str, Any]) -> None:
    """Raises InvalidInput for the first field that the app does not take."""
    _, misfits = fitted(app, form)
    if misfits:
        raise InvalidInput(misfits[0].why, field=misfits[0].field[:100])


def _fields(row: Preset, principal: Principal) -> dict[str, Any]:
    same = ("name", "owner", "app", "flavor", "description", "changed", "changed_by")
    return {
        **{name: getattr(row, name) for name in same},
        "group": row.team,
        "form": parse_settings(row.form),
        "may_change": _may_change(principal, row),
    }
