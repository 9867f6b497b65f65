"""The workflows as the API gives them: apps that run one after the other, each on the results of the one before."""

import builtins

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Nothing, Operation, Request, Response


class Workflow(Response):
    """A workflow. ``steps``: the ids of its apps, in order; ``xml``: the file that describes it."""

    id: str
    name: str
    version: str
    category: str
    description: str
    hidden: bool
    steps: list[str]
    xml: str


class WorkflowList(Response):
    """All workflows."""

    workflows: list[Workflow]


class OneWorkflow(Request):
    """Which workflow, by its id."""

    workflow: str = Field(min_length=1, max_length=200)


LIST = Operation("workflows.list", "GET", "/workflows", Nothing, WorkflowList, "List the workflows.")
GET = Operation("workflows.get", "GET", "/workflows/{workflow}", OneWorkflow, Workflow, "One workflow.")


class Workflows:
    """The workflows of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> "builtins.list[Workflow]":
        """All workflows."""
        return self._caller.call(LIST, Nothing()).workflows

    def get(self, workflow: str) -> Workflow:
        """One workflow. Raises Refused where there is none."""
        return self._caller.call(GET, OneWorkflow(workflow=workflow))
