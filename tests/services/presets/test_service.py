"""Presets: whose they are, who changes them, and what of one fits another version of its app."""

from pathlib import Path
from typing import Any

import pytest

from cumulus_client.presets import NewPreset
from server.app import Controller
from server.catalog.apps import Catalog
from server.db.models import Preset
from server.errors import CumulusError, InvalidInput, NotFound
from server.services.presets import service
from server.services.presets.fitting import fitted
from server.services.presets.service import PresetService
from server.services.principal import Forbidden, Principal
from tests.conftest import TEST_APPS

ADA, EVE, MIA, MAX = map(Principal.local_user, ("ada", "eve", "mia", "max"))
ROOT = Principal.local_admin("root")
GROUPS = {"mia": {"plasma": True}, "max": {"plasma": False, "yeast": True}, "ada": {}, "eve": {}, "root": {}}


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    """The test app, and a later version of it: without a field, with other bounds, with another choice."""
    folder = tmp_path / "versions"
    folder.mkdir()
    text = (TEST_APPS / "probe_1.0.xml").read_text()
    (folder / "probe_1.0.xml").write_text(text)
    later = text.replace('id="probe_1.0"', 'id="probe_2.0"').replace('version="1.0"', 'version="2.0"')
    later = later.replace('name="text"', 'name="words"').replace('max="3600"', 'max="10"')
    (folder / "probe_2.0.xml").write_text(later)
    other = text.replace('id="probe_1.0"', 'id="other_1.0"').replace('name="Probe"', 'name="Other"')
    (folder / "other_1.0.xml").write_text(other)
    return folder


@pytest.fixture
def presets(controller: Controller, apps: Path, monkeypatch: pytest.MonkeyPatch) -> PresetService:
    """The presets of an installation with two groups."""
    assert controller.database is not None
    monkeypatch.setattr(service, "groups_of", lambda name: GROUPS[name])
    monkeypatch.setattr(service, "group_names", lambda: frozenset({"plasma", "yeast"}))
    return PresetService(Catalog(apps), lambda: 7.0)


def new(name: str = "mine", **given: Any) -> NewPreset:
    return NewPreset(**{"name": name, "app": "probe_1.0", "form": {"text": "hi", "seconds": "60"}, **given})


def test_a_preset_is_saved_shown_and_replaced(presets: PresetService) -> None:
    saved = presets.save(ADA, new(flavor="m1.4xlarge", description="plasma, 90 min"))
    assert (saved.owner, saved.group, saved.app, saved.changed, saved.changed_by) == ("ada", "", "probe_1.0", 7.0, "ada")
    presets.save(ADA, new(form={"text": "ho"}))
    found = presets.get(ADA, "mine")
    assert (found.form, found.flavor, found.misfits) == ({"text": "ho"}, "", [])
    assert Preset.select().count() == 1


def test_nobody_else_sees_an_own_preset(presets: PresetService) -> None:
    presets.save(ADA, new())
    for who in (EVE, ROOT):
        assert presets.list(who).presets == []
        with pytest.raises(NotFound):
            presets.get(who, "mine")
        with pytest.raises(NotFound):
            presets.delete(who, "mine")
    presets.save(EVE, new(form={}))
    assert presets.get(ADA, "mine").form == {"text": "hi", "seconds": "60"}
    with pytest.raises(Forbidden):
        presets.list(Principal.agent())


def test_a_group_s_preset_is_used_by_its_members_and_changed_by_its_managers(presets: PresetService) -> None:
    presets.save(MIA, new(group="plasma"))
    seen = {
        who.name: [(one.name, one.group, one.may_change) for one in presets.list(who).presets] for who in (ADA, MIA, MAX, ROOT)
    }
    assert seen == {
        "ada": [],
        "mia": [("mine", "plasma", True)],
        "max": [("mine", "plasma", False)],
        "root": [("mine", "plasma", True)],
    }
    for change in (lambda: presets.save(MAX, new(group="plasma")), lambda: presets.delete(MAX, "mine")):
        with pytest.raises(Forbidden):
            change()
    with pytest.raises(NotFound) as refused:
        presets.save(ADA, new(group="plasma"))
    assert refused.value.field == "group"
    assert presets.get(MAX, "mine").changed_by == "mia"
    assert presets.delete(ROOT, "mine", "plasma") == "Preset mine is deleted"


def test_the_own_preset_comes_before_a_group_s_and_of_two_groups_one_is_said(presets: PresetService) -> None:
    presets.save(MIA, new(group="plasma", form={"text": "plasma"}))
    presets.save(MAX, new(group="yeast", form={"text": "yeast"}))
    with pytest.raises(InvalidInput, match="the groups plasma, yeast each have a preset mine") as refused:
        presets.get(MAX, "mine")
    assert refused.value.field == "group"
    assert presets.get(MAX, "mine", group="yeast").form == {"text": "yeast"}
    presets.save(MAX, new(form={"text": "own"}))
    assert presets.get(MAX, "mine").form == {"text": "own"}


def test_what_does_not_fit_another_version_is_left_out_and_named(presets: PresetService) -> None:
    presets.save(ADA, new(form={"text": "hi", "seconds": "60", "outcome": "fail"}))
    found = presets.get(ADA, "mine", app="probe_2.0")
    assert (found.app, found.fitted_to, found.form) == ("probe_1.0", "probe_2.0", {"outcome": "fail"})
    assert [(one.field, one.value) for one in found.misfits] == [("text", "hi"), ("seconds", "60")]
    assert found.misfits[0].why == "probe_2.0 has no field 'text'"
    assert "more than 10" in found.misfits[1].why
    assert [one.name for one in presets.list(ADA, "probe_2.0").presets] == ["mine"]


def test_a_preset_is_of_one_app(presets: PresetService) -> None:
    presets.save(ADA, new())
    with pytest.raises(InvalidInput, match="is of Probe") as refused:
        presets.get(ADA, "mine", app="other_1.0")
    assert refused.value.field == "preset"
    assert presets.list(ADA, "other_1.0").presets == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"app": "none"}, "app"),
        ({"form": {"nothing": 1}}, "nothing"),
        ({"form": {"seconds": "soon"}}, "seconds"),
        ({"form": {"outcome": ["ok"]}}, "outcome"),
        ({"form": {"text": "x" * 5_000_001}}, "settings"),
    ],
)
def test_a_form_that_its_app_does_not_take_is_not_saved(presets: PresetService, given: dict[str, Any], field: str) -> None:
    with pytest.raises(CumulusError) as refused:
        presets.save(ADA, new(**given))
    assert refused.value.field == field
    assert Preset.select().count() == 0


def test_there_are_only_so_many(presets: PresetService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_PRESETS", 2)
    presets.save(ADA, new("one"))
    presets.save(ADA, new("two"))
    presets.save(ADA, new("two", form={}))
    with pytest.raises(InvalidInput, match="there are 2 presets already"):
        presets.save(ADA, new("three"))


def test_a_range_is_read_with_both_of_its_keys() -> None:
    from server.settings import CHECKOUT

    catalog = Catalog(CHECKOUT / "apps")
    ranges = [(app, one) for app in catalog.apps().values() for one in app.controls() if len(one.keys) == 2]
    assert ranges
    for app, control in ranges:
        form = dict(control.defaults)
        fits, misfits = fitted(app, form)
        assert (fits, misfits) == (form, [])
