"""Every route of both programs is documented, and no other is."""

import re

from flask import Flask

from agent.serve import Agent
from server.app import Controller
from server.application import create_app
from server.settings import CHECKOUT
from tests.agent.conftest import agent, agent_settings, lab

__all__ = ["agent", "agent_settings", "lab"]
_, CONTROLLER, AGENT = re.split(r"^## (?:Controller|Agent)$", (CHECKOUT / "docs" / "rest.md").read_text(), flags=re.MULTILINE)
NAMES = {"job_id": "ID", "shown": "ID", "number": "N", "owner": "OWNER", "path": "PATH"}


def routes(app: Flask) -> set[str]:
    found = set()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: NAMES[name[1]], rule.rule).replace("//", "/")
        (method,) = rule.methods - {"HEAD", "OPTIONS"}
        found.add(f"{method} {path.rstrip('/') or '/'}")
    return found


def documented(text: str) -> set[str]:
    return set(re.findall(r"^\| `((?:GET|POST|DELETE) [^`]+)` \|", text, re.MULTILINE))


def test_every_route_of_the_controller_is_documented(controller: Controller) -> None:
    assert routes(create_app(controller)) == documented(CONTROLLER)


def test_every_route_of_the_agent_is_documented(agent: Agent) -> None:
    assert routes(agent.app) == documented(AGENT)
