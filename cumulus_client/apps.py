"""The apps that jobs can run, as the API gives them: their forms, and what command an app makes of a form."""

from typing import Any

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Nothing, Operation, Request, Response

MAX_NAME = 200


class App(Response):
    """An app. ``accepts``: the formats that each field with files takes; ``missing``: why the machines lack it, "" where not."""

    id: str
    name: str
    version: str
    category: str
    description: str
    hidden: bool
    licence: str
    installed: bool
    accepts: dict[str, list[str]]
    missing: str


class FormField(Response):
    """One field of a form. ``keys``: its names in the settings; ``type``: its element in the XML; ``defaults``: by key.

    ``accepts``: its values in words; ``choices``: the label of each option by its value; ``minimum`` and ``maximum``: texts of
    numbers, "" for no limit; ``formats``: endings of its files, none for any; ``when``: what other fields have to be for it to
    count.
    """

    section: str
    keys: list[str]
    label: str
    type: str
    defaults: dict[str, Any]
    required: bool
    accepts: str
    choices: dict[str, str]
    minimum: str
    maximum: str
    formats: list[str]
    when: list[str]


class AppDetails(App):
    """An app with its form."""

    fields: list[FormField]


class AppList(Response):
    """All apps."""

    apps: list[App]


class Form(Response):
    """A form as JSON Schema (2020-12), with hints on drawing it under ``x-ui``; ``defaults``: its values where none are given.

    ``xml``: the file that describes the app, which says more than a schema can.
    """

    json_schema: dict[str, Any]
    defaults: dict[str, Any]
    xml: str


class PreviewRun(Response):
    """One run of an app. ``file``: the one that it is for, "" where the app takes all at once; ``config_name``: of its config."""

    file: str
    command: str
    config: str | None
    config_name: str


class PreviewFile(Response):
    """A file that a form names. ``target``: what it becomes where it is converted, else ""."""

    name: str
    shared: bool
    target: str


class Preview(Response):
    """What an app makes of a form: one run, or one for each file; and its input files."""

    runs: list[PreviewRun]
    files: list[PreviewFile]


class OneApp(Request):
    """Which app, by its id."""

    app: str = Field(min_length=1, max_length=MAX_NAME)


class PreviewQuery(OneApp):
    """A form. ``settings``: by its fields' names; ``cpus``: of the machine, None for the default machine size's."""

    settings: dict[str, Any] = Field(default={}, max_length=10_000)
    cpus: int | None = Field(default=None, ge=1, le=4096)


LIST = Operation("apps.list", "GET", "/apps", Nothing, AppList, "List the apps.")
GET = Operation("apps.get", "GET", "/apps/{app}", OneApp, AppDetails, "One app with the fields of its form.")
FORM = Operation("apps.form", "GET", "/apps/{app}/form", OneApp, Form, "An app's form as JSON Schema, with its defaults.")
PREVIEW = Operation(
    "apps.preview", "POST", "/apps/{app}/preview", PreviewQuery, Preview, "The command that an app makes of a form; runs nothing."
)


class Apps:
    """The apps of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> list[App]:
        """All apps."""
        return self._caller.call(LIST, Nothing()).apps

    def get(self, app: str) -> AppDetails:
        """One app. Raises Refused where there is none."""
        return self._caller.call(GET, OneApp(app=app))

    def form(self, app: str) -> Form:
        """An app's form for programs. Raises Refused where there is none."""
        return self._caller.call(FORM, OneApp(app=app))

    def preview(self, app: str, settings: dict[str, Any], cpus: int | None = None) -> Preview:
        """What the app makes of a form. Raises Refused, which names the field at fault."""
        return self._caller.call(PREVIEW, PreviewQuery(app=app, settings=settings, cpus=cpus))
