"""The agent's queue is removed, replaced or overwritten: while the agent runs, and at its start."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from peewee import DatabaseError

from agent.queue.database import QueueUnusable, open_database
from agent.queue.models import Job, database_of
from agent.queue.ownership import FILE
from agent.queue.queue import Queue
from agent.serve import Agent, make_agent
from agent.settings import Settings
from tests.accidents.test_database_lost import (
    empty,
    make_a_folder,
    overwrite_with_another_schema,
    overwrite_with_garbage,
    remove_all,
    remove_index,
    remove_log,
    remove_main,
    replace_by_a_copy_of_its_own,
    replace_by_an_empty_file,
    replace_by_another_programs,
)
from tests.agent.conftest import agent, agent_settings, lab

__all__ = ["agent", "agent_settings", "lab"]

DAMAGES = (
    remove_main,
    remove_log,
    remove_index,
    remove_all,
    replace_by_a_copy_of_its_own,
    replace_by_another_programs,
    replace_by_an_empty_file,
    empty,
    overwrite_with_garbage,
    overwrite_with_another_schema,
    make_a_folder,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_told_at_once_and_nothing_is_taken(agent: Agent, damage: Callable[[Path], None]) -> None:
    client = agent.app.test_client()
    path = agent.settings.database
    database_of(Job).execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(path)
    form = {"job_id": "1", "job_dir": "Job_1_ada_x_1", "owner": "ada", "files": json.dumps([]), "local_files": json.dumps([])}
    sent = client.post("/send-rsync", data=form)
    assert sent.status_code == 200
    assert client.get("/list-rsync").get_json() == []
    assert client.get("/queue").get_json() == []
    said = client.get("/cancel-rsync/ada/1").get_json()
    assert "the queue is lost" in said
    assert str(path) in said
    with pytest.raises(DatabaseError, match="while it was in use"):
        agent.loop.tick()
    with pytest.raises(DatabaseError, match="while it was in use"):
        Queue().jobs.cancel("ada", 1, 0.0)
    if damage in (remove_main, remove_all):
        assert not path.exists()


def test_a_lost_queue_is_begun_anew_and_said(agent_settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_agent(agent_settings)
    made.loop.stop()
    database_of(Job).close()
    assert "lost" not in "".join(capsys.readouterr())
    before = (agent_settings.home / FILE).read_text()
    agent_settings.database.unlink()
    again = make_agent(agent_settings)
    again.loop.stop()
    assert "the queue was lost" in "".join(capsys.readouterr())
    assert Queue().listing.lines() == []
    assert (agent_settings.home / FILE).read_text() != before
    database_of(Job).close()


def test_another_agents_queue_is_refused_and_left_alone(agent_settings: Settings, tmp_path: Path) -> None:
    made = make_agent(agent_settings)
    made.loop.stop()
    database_of(Job).close()
    other = open_database(tmp_path / "other.sqlite")
    other.guard()
    other.close()
    (tmp_path / "other.sqlite").replace(agent_settings.database)
    before = agent_settings.database.read_bytes()
    with pytest.raises(QueueUnusable, match="another agent's"):
        make_agent(agent_settings)
    assert agent_settings.database.read_bytes() == before
    (agent_settings.home / FILE).unlink()  # as it says
    make_agent(agent_settings).loop.stop()
    database_of(Job).close()


@pytest.mark.parametrize("damage", [replace_by_another_programs, overwrite_with_garbage, make_a_folder])
def test_what_is_no_queue_is_refused_at_the_start(agent_settings: Settings, damage: Callable[[Path], None]) -> None:
    made = make_agent(agent_settings)
    made.loop.stop()
    database_of(Job).close()
    damage(agent_settings.database)
    with pytest.raises(QueueUnusable, match="move it away"):
        make_agent(agent_settings)
    (agent_settings.home / FILE).unlink()  # also where it is not known which one was here
    with pytest.raises(QueueUnusable, match="move it away"):
        make_agent(agent_settings)
