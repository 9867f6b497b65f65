"""The API against its own description: whatever the document allows or forbids, no answer is a 5xx or of another shape."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from cumulus_client.operations import PREFIX
from server.api.v1.operations import OPERATIONS
from server.app import Controller
from server.application import create_app
from tests.api.identity.worlds import DatabaseWorld
from tests.conftest import submission

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
# Who may do what is tested by the matrix of routes; a request of the right shape may ask for an app that does not exist.
NOT_HERE = [ignored_auth, positive_data_acceptance]
EXAMPLES, SEQUENCES, STEPS = 20, 20, 6


@pytest.fixture(params=["admin", "user"])
def asked_by(controller: Controller, request: pytest.FixtureRequest) -> tuple[Any, dict[str, str]]:
    """The document as the server gives it, with a few jobs, and the headers of who asks: an administrator, a user."""
    for name in ("ada", "eve"):
        controller.jobs.submit(*submission(name))
    world = DatabaseWorld()
    app = create_app(controller, world.accounts)
    return (
        schemathesis.openapi.from_wsgi(f"{PREFIX}/openapi.json", app.wsgi_app),
        {"Authorization": f"Bearer {world.tokens[request.param]}"},
    )


def test_each_operation_keeps_to_its_description(asked_by: tuple[Any, dict[str, str]]) -> None:
    (schema, headers), asked = asked_by, 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=QUIET, phases=[Phase.generate])
        def keeps_to_it(case: Case) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(headers=headers, excluded_checks=NOT_HERE)

        keeps_to_it()
    assert asked >= len(OPERATIONS)


def test_sequences_of_operations_keep_to_it(asked_by: tuple[Any, dict[str, str]]) -> None:
    schema, headers = asked_by

    class Sequence(schema.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": headers}

        def validate_response(self, response: Any, case: Case, **more: Any) -> None:
            case.validate_response(response, excluded_checks=NOT_HERE, **more)

    chosen = settings(
        max_examples=SEQUENCES, stateful_step_count=STEPS, derandomize=True, deadline=None, suppress_health_check=QUIET
    )
    Sequence.run(settings=chosen)
