"""What a plan says in one line."""

from server.workers.terraform.drift import LINE_LIMIT, differences


def resource(**change: object) -> dict[str, object]:
    return {"resource_drift": [{"address": "x.y", "change": {"actions": ["update"], **change}}]}


def test_nothing_differs_in_an_empty_plan() -> None:
    assert differences({}) == ""
    assert differences({"output_changes": {"id": {"actions": ["no-op"], "before": 1, "after": 1}}}) == ""


def test_attributes_that_differ_are_named_with_both_values() -> None:
    before = {"power_state": "active", "name": "a", "gone": 1}
    assert differences(resource(before=before, after={"power_state": "shutoff", "name": "a"})) == (
        'x.y: gone 1 → null, power_state "active" → "shutoff"'
    )


def test_what_the_cloud_has_told_since_is_no_difference_unless_the_module_asks_for_it() -> None:
    plan = resource(
        before={"device_id": "", "tags": None, "attachment": [], "security_groups": [], "name": "a"},
        after={"device_id": "x", "tags": [], "attachment": [{"id": "y"}], "security_groups": ["open"], "name": "a"},
    )
    asked = {"root_module": {"resources": [{"address": "x.y", "expressions": {"name": {}, "security_groups": {}}}]}}
    assert differences({**plan, "configuration": asked}) == 'x.y: security_groups [] → ["open"]'
    assert differences(plan) == ""


def test_an_output_that_is_not_known_yet_is_none() -> None:
    unknown = {"actions": ["create"], "before": None, "after": None, "after_unknown": True}
    assert differences({"output_changes": {"id": unknown}}) == ""


def test_a_resource_that_is_gone_is_said_to_be() -> None:
    plan = {"resource_drift": [{"address": "x.y", "change": {"actions": ["delete"], "before": {"a": 1}, "after": None}}]}
    assert differences(plan) == "x.y: is gone"


def test_what_is_sensitive_is_not_shown() -> None:
    masked = resource(before={"key": "old"}, after={"key": "new"}, before_sensitive={"key": True}, after_sensitive=False)
    assert differences(masked) == "x.y: key (sensitive)"
    hidden = {"actions": ["update"], "before": "old", "after": "new", "after_sensitive": True}
    assert differences({"output_changes": {"key": hidden}}) == "output key: (sensitive)"


def test_it_stays_one_line_that_can_be_read() -> None:
    long = resource(before={f"a{n}": "x" * 500 for n in range(50)}, after={f"a{n}": "\x1b[2J\n" for n in range(50)})
    text = differences(long)
    assert text.isprintable()
    assert len(text) == LINE_LIMIT + 1
