"""Every route of both programs is documented, and no other is."""

import re

from flask import Flask
from werkzeug.routing import Rule

from agent.serve import Agent
from server.app import Controller
from server.application import create_app
from server.settings import CHECKOUT
from tests.agent.conftest import agent, agent_settings, lab

__all__ = ["agent", "agent_settings", "lab"]
_, CONTROLLER, AGENT = re.split(r"^## (?:Controller|Agent)$", (CHECKOUT / "docs" / "rest.md").read_text(), flags=re.MULTILINE)
API, UPLOADS = ((CHECKOUT / "docs" / name).read_text() for name in ("api.md", "uploads.md"))
NAMES = {"upload": "ID", "job_id": "ID", "shown": "ID", "number": "N", "owner": "OWNER", "path": "PATH"}


def routes(app: Flask) -> set[str]:
    """All but the operations, which docs/api.md lists by their definitions, and OPTIONS."""
    return {
        f"{method} {path_of(rule.rule)}"
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith("v1.")
        for method in methods_of(rule)
    }


def path_of(rule: str) -> str:
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: NAMES[name[1]], rule).replace("//", "/")
    return path.rstrip("/") or "/"


def in_braces(found: re.Match[str]) -> str:
    return f"{{{found[1]}}}"


def methods_of(rule: Rule) -> set[str]:
    """Those that a client may use: HEAD only where it is a route's own, and POST to one upload stands for other methods."""
    methods = set(rule.methods or ()) - {"OPTIONS"}
    if rule.endpoint == "uploads.change":
        return methods - {"POST"}
    return methods if rule.endpoint == "uploads.status" else methods - {"HEAD"}


def documented(text: str) -> set[str]:
    """The routes in tables of two columns; a query is none of the route."""
    return set(re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE|HEAD) [^`?]+)[^`|]*`(?:, `[^`]+`)? \|", text, re.MULTILINE))


def test_every_route_of_the_controller_is_documented(controller: Controller) -> None:
    beside = API.partition("\n## Routes beside the operations\n")[2]
    assert routes(create_app(controller)) == documented(CONTROLLER) | documented(UPLOADS) | documented(beside)


def test_every_operation_is_a_route_and_in_the_table(controller: Controller) -> None:
    table = set(re.findall(r"^\| `\w+\.\w+` \| `([A-Z]+ [^`]+)` \|", API, re.MULTILINE))
    found = {
        f"{method} {re.sub('<(?:path:)?([a-z_]+)>', in_braces, rule.rule)}"
        for rule in create_app(controller).url_map.iter_rules()
        if rule.endpoint.startswith("v1.")
        for method in set(rule.methods or ()) - {"HEAD", "OPTIONS"}
    }
    assert found == table


def test_every_route_of_the_agent_is_documented(agent: Agent) -> None:
    assert routes(agent.app) == documented(AGENT)
