"""``cumulus serve``: the controller."""

import click

from server.serve import serve as run_server
from server.settings import load_settings


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one.")
def serve(host: str | None, port: int | None) -> None:
    """Run the controller until SIGTERM or Ctrl-C.

    Example: cumulus serve --port 8080
    """
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    run_server(load_settings(**given))
