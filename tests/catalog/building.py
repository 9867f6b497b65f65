"""Apps for tests, from the XML of their parameters."""

from xml.sax.saxutils import quoteattr

from server.catalog.apps import SCHEMAS
from server.catalog.model import App
from server.catalog.reading import read_app
from server.catalog.rendering.command import Rendered, Variables, render
from server.catalog.xml import Schemas, read_document

ALL_SCHEMAS = Schemas(SCHEMAS)
VARIABLES = Variables(threads=3, input_dir="/job/input", output_dir="/job/output", config_file="/job/.cumulus.settings")


def tool(items: str = "", **attributes: str) -> str:
    """The text of an app with these parameters in its only section."""
    given = {"id": "app_1", "name": "App", "version": "1", "command": "run", "end_tag": "", **attributes}
    head = " ".join(f"{name}={quoteattr(value)}" for name, value in given.items())
    return f'<tool {head}>\n<section name="s" title="S">\n{items}\n</section>\n</tool>\n'


def app(items: str = "", **attributes: str) -> App:
    """That app."""
    return read_app(read_document(tool(items, **attributes).encode(), ALL_SCHEMAS).root)


def rendered(items: str, settings: dict[str, object], **attributes: str) -> Rendered:
    """What a job of that app runs."""
    return render(app(items, **attributes), settings, VARIABLES)


def command(items: str, settings: dict[str, object]) -> str:
    """What the parameters add to that app's command."""
    return rendered(items, settings).command.removeprefix("run").strip()
