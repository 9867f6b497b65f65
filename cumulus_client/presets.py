"""Presets as the API gives them: named forms of a user or a group; the operations on them, and the client of these."""

import builtins
from typing import Annotated, Any

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Done, Operation, Request, Response

PresetName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\w[\w.+-]*( [\w.+-]+)*$")]
GroupName = Annotated[str, Field(max_length=200)]
MAX_PRESETS = 1000  # of one user or group


class Preset(Response):
    """A named form. ``group``: whose it is, "" for the own one of ``owner``; ``app``: for which version of its app it was saved.

    ``form``: the fields that it sets. ``may_change``: whether it is the caller's to change.
    """

    name: str
    owner: str
    group: str
    app: str
    flavor: str
    description: str
    form: dict[str, Any]
    changed: float
    changed_by: str
    may_change: bool


class Misfit(Response):
    """A field of a preset that another version of its app does not take: ``why`` is a sentence."""

    field: str
    value: Any
    why: str


class FittedPreset(Preset):
    """A preset for a version of its app: ``form`` has what fits. ``fitted_to``: that version."""

    fitted_to: str
    misfits: list[Misfit]


class PresetList(Response):
    """Presets by their names; the own one comes before a group's of the same name."""

    presets: list[Preset]


class PresetsQuery(Request):
    """Which presets: ``app``: only of this app, in whatever version."""

    app: str = Field(default="", max_length=200)


class OnePreset(Request):
    """Which preset. ``group``: of this group; "": the own one, or else that of a group in which the name is the only one."""

    name: PresetName
    group: GroupName = ""


class PresetQuery(OnePreset):
    """For which version of its app: "" for that for which it was saved, as it was saved."""

    app: str = Field(default="", max_length=200)


class NewPreset(OnePreset):
    """What is saved, in place of what had the name. ``group``: "" for oneself; only its managers save those of a group."""

    app: str = Field(max_length=200)
    form: dict[str, Any]
    flavor: str = Field(default="", max_length=200)
    description: str = Field(default="", max_length=1000)


LIST = Operation("presets.list", "GET", "/presets", PresetsQuery, PresetList, "List the own presets and those of the own groups.")
GET = Operation("presets.get", "GET", "/presets/{name}", PresetQuery, FittedPreset, "One preset, fitted to a version of its app.")
SAVE = Operation("presets.save", "PUT", "/presets/{name}", NewPreset, Preset, "Save a form under a name.", "submit")
DELETE = Operation("presets.delete", "DELETE", "/presets/{name}", OnePreset, Done, "Delete a preset.", "submit")


class Presets:
    """The presets that one may use."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self, app: str = "") -> "builtins.list[Preset]":
        """By their names; ``app``: only of this app, in whatever version."""
        return self._caller.call(LIST, PresetsQuery(app=app)).presets

    def get(self, name: str, app: str = "", group: str = "") -> FittedPreset:
        """One preset, fitted to the app ``app``. Raises Refused where there is none, or it is another app's."""
        return self._caller.call(GET, PresetQuery(name=name, app=app, group=group))

    def save(self, preset: NewPreset) -> Preset:
        """Save a form. Raises Refused where the app does not take it."""
        return self._caller.call(SAVE, preset)

    def delete(self, name: str, group: str = "") -> str:
        """Delete a preset; returns a sentence."""
        return self._caller.call(DELETE, OnePreset(name=name, group=group)).message
