"""What of a saved form a version of its app takes: pure, from the form and the app's fields."""

from collections.abc import Mapping
from typing import Any

from cumulus_client.presets import Misfit
from server.catalog.controls.control import quoted
from server.catalog.forms import UnknownName, control_of, require_names
from server.catalog.model import App
from server.errors import InvalidInput


def fitted(app: App, form: Mapping[str, Any]) -> tuple[dict[str, Any], list[Misfit]]:
    """The fields of the form that the app takes, and those that it does not, each with why.

    A field counts by itself: whether it is in a branch of the form that is taken is decided where the form is filled in.
    """
    fits: dict[str, Any] = {}
    misfits = []
    for name, value in form.items():
        try:
            require_names(app, [name])
            _require_readable(app, name, form)
        except UnknownName:
            misfits.append(Misfit(field=name, value=value, why=f"{app.id} has no field {quoted(name)}"))
        except InvalidInput as error:
            misfits.append(Misfit(field=name, value=value, why=f"{app.id}: {error.message}"))
        else:
            fits[name] = value
    return fits, misfits


def _require_readable(app: App, name: str, form: Mapping[str, Any]) -> None:
    """Raises InvalidInput where the field does not take its value. A field of two keys is read with both."""
    control = control_of(app, name)
    if control is not None:
        control.read({key: form[key] for key in control.keys if key in form})
