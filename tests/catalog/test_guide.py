"""The guide for app authors says what is so."""

import re

import pytest
from lxml import etree

from server.catalog.reading import read_app
from server.catalog.rendering.command import Variables, render
from server.catalog.xml import read_document
from server.settings import CHECKOUT
from tests.catalog.building import ALL_SCHEMAS, tool

GUIDE = (CHECKOUT / "docs" / "apps.md").read_text()
XSD = "{http://www.w3.org/2001/XMLSchema}"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def test_the_first_example_gives_the_command_that_is_shown() -> None:
    app = read_app(read_document(blocks("xml")[0].encode(), ALL_SCHEMAS).root)
    settings = {"spectra": ["/x/a.raw", "/x/b.mzML"], "limit": "0.5", "title": "Ada's"}
    variables = Variables(3, "/…/input", "/…/output", "/…/.cumulus.settings")
    assert render(app, settings, variables).command == blocks("sh")[0].strip()


def test_the_other_examples_are_accepted() -> None:
    for text in blocks("xml")[1:]:
        read_app(read_document(tool(text).encode(), ALL_SCHEMAS).root)


@pytest.mark.parametrize("schema", ["app.xsd", "workflow.xsd"])
def test_every_element_and_attribute_is_explained(schema: str) -> None:
    root = etree.parse(CHECKOUT / "apps" / schema)
    names = {str(node.get("name")) for kind in ("element", "attribute") for node in root.iter(XSD + kind) if node.get("name")}
    assert {name for name in names if f"`{name}`" not in GUIDE and f"`{name}`s" not in GUIDE} == set()


@pytest.mark.parametrize("text", re.findall(r"`(sh -c '.*?' sh %value%)`", GUIDE))
def test_what_it_advises_is_accepted(text: str) -> None:
    read_app(
        read_document(
            tool(f'<string name="p" label="P" command="{text.replace(chr(34), "&quot;")}"/>').encode(), ALL_SCHEMAS
        ).root
    )
