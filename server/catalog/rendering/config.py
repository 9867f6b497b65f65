"""The config file of an app that wants one: the settings as JSON or YAML, nested by the dots in their names."""

import json
from collections.abc import Iterable
from typing import Any

import yaml

from server.catalog.model import AnyControl, ConfigFormat
from server.catalog.rendering.variables import Variables

NO_VALUE = "_"  # the last part of a name whose value is dropped: only the object around it is wanted


def build_config(given: Iterable[tuple[AnyControl, Any]], variables: Variables) -> dict[str, object]:
    """The content of the config file. Raises InvalidInput where two names contradict each other."""
    config: dict[str, object] = {}
    for control, value in given:
        if control.is_configured(value):
            _put(config, control, control.config(value, variables))
    return config


def write_config(config: dict[str, object], config_format: ConfigFormat) -> str:
    """The text of a config file, ending with a newline."""
    if config_format == "json":
        return json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    text: str = yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10_000)
    return text


def _put(config: dict[str, object], control: AnyControl, value: object) -> None:
    *path, last = control.name.split(".")
    inner = config
    for part in path:
        found = inner.setdefault(part, {})
        if not isinstance(found, dict):
            control.refuse(f"cannot be in the config file: {part} has a value of its own")
        inner = found
    if last == NO_VALUE:
        return
    if isinstance(inner.get(last), dict) and inner[last] != value:
        control.refuse("cannot be in the config file: it has parts of its own")
    inner[last] = value


class _Dumper(yaml.SafeDumper):
    """Texts are quoted, always: what is a number or a truth value without quotes differs between YAML's versions."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


_Dumper.add_representer(str, _quoted)
