"""Searches find what a reader of all rows would find, whichever index answers them."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peewee import SqliteDatabase

from server.db import search
from server.db.connection import open_database
from server.db.models import Job
from server.db.search import MAX_TEXT, Query, find, listed, named_apps
from server.errors import InvalidInput
from server.states import JobState

DAY = datetime(2025, 3, 1)  # noqa: DTZ001  # days are of the server's own time zone
LETTERS = "aAbB %_\"'\\*:^()-+.é漢😀\n"
TEXT = st.text(alphabet=LETTERS, max_size=8)
COLUMNS = {"owner": "owner", "app": "app", "description": "description", "file": "inputs"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteDatabase]:
    made = open_database(tmp_path_factory.mktemp("search") / "rows.sqlite")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def bound(database: SqliteDatabase) -> None:
    database.bind([Job])
    Job.delete().execute()


def add(**fields: object) -> int:
    number = Job.select().count() + 1
    given = {"owner": "ada", "app": "comet_1", "flavor": "m1", "weight": 1, "settings": "{}", "folder": f"Job_{number}"}
    when = DAY.timestamp() + number * 86400
    job = Job.create(**{**given, "state": JobState.DONE, "state_since": when, "created": when, "ended": when + 60, **fields})
    return int(job.id)


def ids(**fields: object) -> list[int]:
    return [job.id for job in find(Query(**fields))]  # type: ignore[arg-type]


def part_of(column: str) -> Callable[[dict[str, str]], st.SearchStrategy[str]]:
    return lambda row: st.tuples(st.integers(0, 8), st.integers(0, 8)).map(
        lambda cut: row[column][min(cut) : max(cut)].swapcase()
    )


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_texts_are_found_as_by_looking_at_every_row(data: st.DataObject) -> None:
    Job.delete().execute()
    rows = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS.values(), TEXT)), min_size=1, max_size=6))
    numbers = [add(**row) for row in rows]
    changed = data.draw(st.integers(0, len(rows) - 1))
    rows[changed] = {**rows[changed], "description": data.draw(TEXT)}
    Job.update(description=rows[changed]["description"]).where(Job.id == numbers[changed]).execute()
    names = data.draw(st.lists(st.sampled_from(sorted(COLUMNS)), max_size=2, unique=True))
    wanted = {name: data.draw(TEXT | st.sampled_from(rows).flatmap(part_of(COLUMNS[name]))) for name in names}
    naive = [
        number
        for number, row in zip(numbers, rows, strict=True)
        if all(text.lower() in row[COLUMNS[name]].lower() for name, text in wanted.items())
    ]
    assert ids(**wanted) == naive[::-1]
    assert ids(**wanted, limit=2) == naive[::-1][:2]


def test_case_does_not_matter_beyond_ascii_either() -> None:
    number = add(description="Étude ÖLPROBE Ωμέγα")
    assert (
        ids(description="étude")
        == ids(description="ölprobe")
        == ids(description="ΩΜΈ")
        == ids(description="é")
        == ids(description="ÖL")
        == [number]
    )


def test_a_job_whose_texts_changed_is_found_by_the_new_ones_alone() -> None:
    number = add(description="before")
    Job.update(description="after").where(Job.id == number).execute()
    assert ids(description="after") == [number]
    assert ids(description="before") == []


@pytest.mark.parametrize("few", [0, 10_000])
def test_states_and_days_restrict_in_either_way(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FEW", few)
    rows = [add(state=state, owner=owner) for state in (JobState.DONE, JobState.FAILED) for owner in ("ada", "bob", "ada2")]
    day = [f"{DAY + timedelta(days=number):%Y-%m-%d}" for number in range(10)]
    assert ids(states=frozenset({JobState.FAILED})) == rows[:2:-1]
    assert ids(states=frozenset({JobState.FAILED}), owner="ada") == [rows[5], rows[3]]
    assert ids(states=frozenset({JobState.FAILED}), owner="ad") == [rows[5], rows[3]]
    assert ids(first=day[2], last=day[4]) == [rows[3], rows[2], rows[1]]
    assert ids(first=day[2], last=day[4], limit=2) == [rows[3], rows[2]]
    assert ids(date="end_date", last=day[2], owner="ada") == [rows[0]]
    assert ids(date="start_date", first=day[1]) == []


def test_a_text_too_long_for_any_job_is_refused() -> None:
    with pytest.raises(InvalidInput):
        find(Query(description="x" * (MAX_TEXT + 1)))


def test_a_deleted_job_is_not_found_and_a_nul_does_no_harm() -> None:
    number = add(description="gone")
    assert ids(description="gon\0e") == []
    Job.delete().where(Job.id == number).execute()
    assert ids(description="gone") == []


def test_one_job_and_the_apps_that_jobs_name() -> None:
    number = add(app="b_1")
    add(app="a_1")
    add(app="b_1")
    found = listed(number)
    assert found is not None
    assert (found.id, found.app, found.state) == (number, "b_1", "done")
    assert listed(number + 99) is None
    assert named_apps() == ["a_1", "b_1"]


def plan(database: SqliteDatabase, **fields: object) -> str:
    """What SQLite does for a search, in its own words."""
    statements: list[str] = []
    connection = database.connection()
    connection.set_trace_callback(statements.append)
    list(find(Query(**fields)))  # type: ignore[arg-type]
    connection.set_trace_callback(None)
    whole = [text for text in statements if not text.startswith("--")]  # what FTS5 does inside begins so
    return str(database.execute_sql(f"EXPLAIN QUERY PLAN {whole[-1]}").fetchall())


def test_no_search_reads_all_rows_with_their_settings(database: SqliteDatabase) -> None:
    assert "VIRTUAL TABLE INDEX" in plan(database, owner="ada", limit=5)
    assert "USING COVERING INDEX job_searched" in plan(database, owner="ad", limit=5)
    assert "job_created" in plan(database, first="2025-01-01", limit=5)
    assert "job_ended" in plan(database, date="end_date", first="2025-01-01", limit=5)
    assert "job_started" in plan(database, date="start_date", last="2025-01-01", limit=5)
    assert "job_state" in plan(database, states=frozenset({JobState.RUNNING}), limit=5)
