"""The agent's token: sent to the controller and shown nowhere; a controller that refuses it is named."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from agent.doctor import examine
from agent.errors import InvalidInput
from agent.queue.models import Job
from agent.queue.states import JobState
from agent.serve import make_agent
from agent.settings import Settings, load_settings
from tests.agent.conftest import Lab, job_state, order, settle
from tests.agent.hearing import Hearing

TOKEN = "cml_7_verysecret"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def given(settings: Settings, controller: Hearing, **changes: object) -> Settings:
    return settings.model_copy(update={"controller": controller.url, "controller_token": SecretStr(TOKEN), **changes})


def unsendable(settings: Settings, lab: Lab) -> None:
    """An order for a file that cannot be read, carried as far as it goes."""
    agent = make_agent(settings)
    order(agent, lab, 1, str(lab.source / "no such.raw"))
    settle(agent)


def test_a_failure_is_reported_with_the_token(agent_settings: Settings, lab: Lab) -> None:
    controller = Hearing()
    with controller.listening():
        unsendable(given(agent_settings, controller), lab)
    assert (job_state(1), len(controller.heard)) == (JobState.FAILED, 1)
    assert set(controller.credentials) == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("refuses", "said"), [((401, "token_revoked"), "make another one"), ((403, "untrusted_network"), "set controller_token")]
)
def test_a_report_that_is_refused_ends_with_what_to_set(
    agent_settings: Settings, lab: Lab, refuses: tuple[int, str], said: str
) -> None:
    controller = Hearing(refuses=refuses)
    with controller.listening():
        unsendable(given(agent_settings, controller, give_up_s=0.01, retry_delay_s=0.01), lab)
    message = Job.get().message
    assert "the controller does not know: the controller does not" in message
    assert said in message
    assert TOKEN not in message


@pytest.mark.parametrize(
    ("refuses", "ok", "said"),
    [
        (None, True, "answers"),
        ((401, "token_revoked"), False, "make another one"),
        ((200, "untrusted_network"), False, "set controller_token"),
    ],
)
def test_doctor_asks_whether_the_agent_is_believed(
    agent_settings: Settings, refuses: tuple[int, str] | None, ok: bool, said: str
) -> None:
    controller = Hearing(refuses=refuses)
    with controller.listening():
        (found,) = [one for one in examine(given(agent_settings, controller)) if one.name == "controller"]
    assert (found.ok, said in found.text) == (ok, True)


@pytest.mark.parametrize(
    "text",
    [
        f'controller_token = "{TOKEN} x"',
        f'controller_token = ["{TOKEN}"]\nport = 70000',
        f'controller_token = "{TOKEN}\\n{TOKEN}"',
        f'controller = "http://ada:{TOKEN}@c"\ncontroller_token = "{TOKEN}"',
        f'controller_token = "{TOKEN}"\nport = 70000',
        f'controller_token = "{TOKEN}"\ncolour = 1',
    ],
)
def test_no_message_about_settings_shows_a_token(text: str) -> None:
    Path("cumulus-agent.toml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert TOKEN not in caught.value.message


def test_a_token_is_read_from_the_variable_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUMULUS_AGENT_CONTROLLER_TOKEN", f" {TOKEN}\n")
    settings = load_settings()
    assert settings.token == TOKEN
    assert TOKEN not in repr(settings) + str(settings)
