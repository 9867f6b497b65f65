"""From an app and a job's settings to what is run: the command line, and the config file where the app wants one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from server.catalog.files import InputFile
from server.catalog.model import App, ConfigFormat
from server.catalog.rendering.config import build_config, write_config
from server.catalog.rendering.variables import Variables
from server.catalog.values import answers, check_settings

__all__ = ["CONFIG_NAME", "Rendered", "Variables", "render", "render_each"]

CONFIG_NAME = ".cumulus.settings"


@dataclass(frozen=True)
class Rendered:
    """What a job's runner needs: shell text (``sh``), and the config file's text with its format, None where there is none.

    ``file``: the one that this run is for, where the app takes the files of a list one by one.
    """

    command: str
    config: str | None = None
    config_format: ConfigFormat | None = None
    file: InputFile | None = None

    @property
    def config_name(self) -> str | None:
        """The config file's name in the job's folder."""
        return f"{CONFIG_NAME}.{self.config_format}" if self.config_format else None


def render(app: App, settings: Mapping[str, object], variables: Variables) -> Rendered:
    """The job with these settings, on a machine with these variables. Raises InvalidInput that names the field.

    The command is the app's own, then what each parameter that counts adds, in the order of the XML, joined by one blank.
    """
    check_settings(app, settings)
    if app.config_format:
        variables = replace(variables, config_file=f"{variables.config_file}.{app.config_format}")
    command = " ".join(piece for piece in _pieces(app, settings, variables) if piece)
    if app.config_format is None:
        return Rendered(command)
    config = build_config(((answer.control, answer.value) for answer in answers(app, settings)), variables)
    return Rendered(command, write_config(config, app.config_format), app.config_format)


def render_each(app: App, settings: Mapping[str, object], variables: Variables) -> list[Rendered]:
    """The runs of a job whose app takes the files of a list one by one: one for each file; empty where it runs once for all.

    Each has a config file of its own, with the run's number behind ``config_file``. Raises InvalidInput that names the field.
    """
    control = app.per_file
    if control is None:
        return []
    check_settings(app, settings)
    given = any(answer.control is control for answer in answers(app, settings))
    files: dict[str, tuple[InputFile, object]] = {}
    for path in _paths(settings[control.name]) if given else ():
        for file in control.read({control.name: [path]}) or ():
            files.setdefault(file.target, (file, path))  # the client may send a path twice
    return [
        replace(
            render(app, {**settings, control.name: [path]}, replace(variables, config_file=f"{variables.config_file}.{number}")),
            file=file,
        )
        for number, (file, path) in enumerate(files.values(), 1)
    ]


def _paths(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _pieces(app: App, settings: Mapping[str, object], variables: Variables) -> Iterator[str]:
    yield app.command.fill(variables.texts)
    for answer in answers(app, settings):
        yield from answer.control.pieces(answer.value, variables)
