"""The driver against a cloud in memory."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from server.catalog.flavors import Flavor, read_flavors
from server.errors import CloudError, TemplateMissing
from server.policy.error_classification import cause
from server.reasons import Reason
from server.settings import Settings
from server.workers.clouds.base import Resource
from server.workers.clouds.build_hash import build_hash
from server.workers.clouds.openstack.client.access import terraform_environment
from server.workers.clouds.openstack.cloud import OpenstackCloud
from server.workers.clouds.openstack.errors import is_of_the_cloud
from server.workers.clouds.smoke_results import short
from tests.workers.clouds.openstack.conftest import give_password
from tests.workers.clouds.openstack.double import CINDER, OURS, Double

FAULT = (
    "Build of instance aborted: VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. "
    "Requested 2G, quota is 5G and 4G has been consumed."
)


TEMPLATE = {"cumulus_template": "cumulus-template"}
PROMOTED = {**TEMPLATE, "cumulus_promoted": "1000"}


@pytest.fixture
def flavor(settings: Settings) -> Flavor:
    return read_flavors(settings.flavors)["m1.4xlarge"]


def test_all_of_this_installation_is_listed_page_by_page_and_nothing_else(cloud: OpenstackCloud, api: Double) -> None:
    for number in range(5):
        api.add_server(f"job-{number}", id=f"s{number}")
    for number in range(3):
        api.add_volume(f"job-{number}", id=f"v{number}")
    api.add_server("job-8", metadata={"cumulus_server": "other"})
    api.add_server("x", metadata={})
    api.add_volume("x", metadata={})
    api.add_port("job-0", id="p0")
    api.add_port("job-0", mark="somebody's")
    found = cloud.resources()
    assert [one.identifier for one in found] == ["s0", "s1", "s2", "s3", "s4", "v0", "v1", "v2", "p0"]
    assert [one.identifier for one in cloud.resources("job-0")] == ["s0", "v0", "p0"]


def test_a_sweep_costs_one_listing_of_each_kind_however_many_machines_there_are(cloud: OpenstackCloud, api: Double) -> None:
    cloud.resources()
    api.calls.clear()
    api.add_server("job-1")
    api.add_server("job-2")
    cloud.resources()
    assert sorted(api.calls) == [
        "GET /compute/v2.1/servers/detail",
        "GET /network/v2.0/ports",
        f"GET {CINDER}/snapshots/detail",
        f"GET {CINDER}/volumes/detail",
    ]


@pytest.mark.parametrize(
    ("status", "alive"), [("ACTIVE", True), ("BUILD", True), ("UNKNOWN", True), ("ERROR", False), ("SHUTOFF", False)]
)
def test_a_server_that_is_in_error_or_switched_off_is_there_and_does_not_live(
    cloud: OpenstackCloud, api: Double, status: str, alive: bool
) -> None:
    machine = api.add_server("job-1", status=status)
    assert cloud.resources() == [Resource("machine", "job-1", machine, alive)]
    assert cloud.alive("job-1") is alive
    assert not cloud.alive("job-2")


def test_what_is_deleted_is_gone_when_the_call_returns(cloud: OpenstackCloud, api: Double) -> None:
    api.add_server("job-1", api.add_volume("job-1"))
    api.add_volume("job-2")
    api.add_port("job-1")
    for resource in cloud.resources():
        cloud.delete(resource)
        cloud.delete(resource)  # gone already
    assert (api.servers, api.volumes, api.ports) == ({}, {}, {})


def test_what_somebody_else_removes_between_the_look_and_the_deletion_counts_as_deleted(
    cloud: OpenstackCloud, api: Double
) -> None:
    api.add_server("job-1")
    api.add_volume("job-2")
    api.add_port("job-1")
    api.vanishing = {"forceDelete", "DELETE"}
    for resource in cloud.resources():
        cloud.delete(resource)
    assert (api.servers, api.volumes, api.ports) == ({}, {}, {})


def test_a_volume_that_stays_attached_is_told_after_the_time_limit(
    cloud: OpenstackCloud, api: Double, settings: Settings
) -> None:
    settings.openstack_volume_delete_s = 0
    kept = api.add_volume("job-1", status="in-use")
    with pytest.raises(CloudError, match=f"volume {kept} is still there"):
        OpenstackCloud(settings, OURS).delete(Resource("volume", "job-1", kept, False))


def test_a_token_that_expires_in_the_middle_is_renewed(cloud: OpenstackCloud, api: Double) -> None:
    cloud.resources()
    api.tokens.clear()
    api.add_server("job-1")
    assert len(cloud.resources()) == 1
    assert sum("auth/tokens" in call for call in api.calls) == 2


def test_wrong_credentials_are_told_in_a_line_and_right_ones_are_taken_up_without_a_restart(
    cloud: OpenstackCloud, api: Double, tmp_path: Path
) -> None:
    give_password(tmp_path, api, "wrong")
    with pytest.raises(CloudError) as caught:
        cloud.resources()
    assert caught.value.reason is Reason.CLOUD_REFUSED
    assert "credentials" in caught.value.message
    assert "wrong, or expired" in caught.value.message
    assert "\n" not in caught.value.message
    assert cloud.site_problems()[0].startswith("the OpenStack cloud: it does not accept the credentials")
    give_password(tmp_path, api, "right")
    assert cloud.resources() == []


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, "<html>Service Unavailable</html>", Reason.CLOUD_BUSY),
        (502, "", Reason.CLOUD_UNREACHABLE),
        (429, {"overLimit": {"message": "slow down"}}, Reason.CLOUD_BUSY),
        (
            403,
            {"forbidden": {"message": "Policy doesn't allow os_compute_api:servers:detail to be performed."}},
            Reason.CLOUD_REFUSED,
        ),
        (403, {"forbidden": {"message": "Quota exceeded for instances: Requested 1"}}, Reason.QUOTA_EXCEEDED),
        (
            413,
            {"overLimit": {"message": "VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded"}},
            Reason.QUOTA_EXCEEDED,
        ),
    ],
)
def test_a_service_s_refusal_has_the_reason_that_a_job_s_policy_needs(
    cloud: OpenstackCloud, api: Double, status: int, body: object, reason: Reason
) -> None:
    api.failing["/servers"] = (status, body)
    with pytest.raises(CloudError) as caught:
        cloud.resources()
    assert caught.value.reason is reason
    assert reason.waits


def test_a_service_that_does_not_answer_in_time_is_given_up(settings: Settings, api: Double) -> None:
    settings.openstack_api_timeout_s = 0.3
    api.slow_s = 1.0
    with pytest.raises(CloudError) as caught:
        OpenstackCloud(settings, OURS).resources()
    assert caught.value.reason is Reason.CLOUD_UNREACHABLE


def test_an_endpoint_that_is_down_is_told_in_a_short_line(settings: Settings, tmp_path: Path) -> None:
    give_password(tmp_path, Double(url="http://127.0.0.1:9"), "right")
    problems = OpenstackCloud(settings, OURS).site_problems()
    assert problems[0].startswith("the OpenStack cloud: it does not answer")
    assert problems[0].endswith("(Connection refused)") or "Connection refused" in problems[0]
    assert "ConnectionPool" not in problems[0]


def test_a_cloud_that_no_file_names_is_told(settings: Settings) -> None:
    settings.openstack_cloud = "nowhere"
    with pytest.raises(CloudError) as caught:
        OpenstackCloud(settings, OURS).resources()
    assert caught.value.reason is Reason.SETUP_INCOMPLETE
    assert "nowhere" in caught.value.message


def test_a_password_that_nobody_gave_is_told_before_anything_is_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OS_AUTH_URL", "http://127.0.0.1:9/v3")
    monkeypatch.setenv("OS_USERNAME", "ada")
    settings.openstack_cloud = ""
    with pytest.raises(CloudError, match=r"its credentials are not complete: .*password") as caught:
        OpenstackCloud(settings, OURS).resources()
    assert caught.value.reason is Reason.SETUP_INCOMPLETE


@pytest.mark.parametrize(("said", "is_known"), [("password is a required attribute", True), ("checksum failed", False)])
def test_an_error_without_a_class_is_the_cloud_s_only_where_its_words_are_known(said: str, is_known: bool) -> None:
    assert is_of_the_cloud(Exception(said)) is is_known


def test_the_cloud_in_the_settings_counts_whatever_else_the_variables_say(
    settings: Settings, cloud: OpenstackCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_AUTH_URL", "http://127.0.0.1:9/v3")
    monkeypatch.setenv("OS_CLOUD", "another")
    assert cloud.resources() == []
    told = terraform_environment(settings)
    assert (told["OS_CLOUD"], told["OS_AUTH_URL"]) == ("lab", "")
    assert told["OS_CLIENT_CONFIG_FILE"] == str(tmp_path / "clouds.yaml")


def test_names_that_the_cloud_lacks_are_told_with_the_setting_to_correct(cloud: OpenstackCloud, api: Double) -> None:
    api.networks, api.groups = [], []
    api.flavors.clear()
    api.add_flavor("m1.4xlarge", 1, 1024)
    told = "\n".join(cloud.site_problems())
    assert "no network cumulus: make it, or correct the setting openstack_network" in told
    assert "no security group cumulus-worker: make it, or correct the setting openstack_security_group" in told
    assert "does not know the flavor m1.8xlarge, m1.heavy" in told


def test_a_quota_of_zero_is_told_before_any_job_meets_it(cloud: OpenstackCloud, api: Double) -> None:
    api.compute |= {"maxTotalInstances": 0, "totalInstancesUsed": 0}
    assert any("the quota is used up (instances 0 of 0)" in line for line in cloud.site_problems())


def test_the_quota_of_all_three_services_is_read(cloud: OpenstackCloud) -> None:
    assert {one.name: (one.used, one.limit) for one in cloud.quota.listed()} == {
        "instances": (2, 6),
        "cores": (2, 6),
        "ram": (1536, 4096),
        "volumes": (4, 12),
        "gigabytes": (12, 48),
        "snapshots": (2, 8),
        "ports": (4, 500),
    }


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"maxTotalInstances": 2}, "1 instances wanted, 2 of 2 used"),
        ({"maxTotalRAMSize": 2000}, "1024 ram wanted, 1536 of 2000 used"),
        ({"maxTotalVolumeGigabytes": 13}, "2 gigabytes wanted, 12 of 13 used"),
        ({"maxTotalVolumes": 4}, "1 volumes wanted, 4 of 4 used"),
    ],
)
def test_a_machine_that_the_quota_has_no_room_for_is_not_begun(
    cloud: OpenstackCloud, api: Double, flavor: Flavor, limits: dict[str, int], told: str
) -> None:
    cloud.quota.require_room(flavor)
    for held in (api.compute, api.storage):
        held |= {name: limit for name, limit in limits.items() if name in held}
    with pytest.raises(CloudError, match=told) as caught:
        cloud.quota.require_room(flavor)
    assert caught.value.reason is Reason.QUOTA_EXCEEDED


def test_no_limit_is_none(cloud: OpenstackCloud, api: Double, flavor: Flavor) -> None:
    api.compute["maxTotalCores"] = -1
    cloud.quota.require_room(flavor)
    assert {one.name: one.limit for one in cloud.quota.listed()}["cores"] is None


def test_ports_are_left_out_where_the_cloud_does_not_tell_them(cloud: OpenstackCloud, api: Double) -> None:
    api.failing["/quotas/"] = (403, {"NeutronError": {"message": "not allowed"}})
    assert "ports" not in [one.name for one in cloud.quota.listed()]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["schedule allocate volume:Could not find any available weighted backend."], Reason.VOLUME_STORAGE_FULL),
        (["copy image to volume:Not enough quota resource for operation."], Reason.QUOTA_EXCEEDED),
        (["schedule allocate volume:Driver is not initialized at present."], Reason.VOLUME_FAILED),
        ([], Reason.VOLUME_FAILED),
    ],
)
def test_a_volume_in_error_has_its_reason_from_cinders_messages(
    cloud: OpenstackCloud, api: Double, said: list[str], reason: Reason
) -> None:
    api.messages[api.add_volume("job-1", status="error")] = said
    api.messages[api.add_volume("job-2", status="available")] = ["attach volume:An unknown error occurred."]
    error = CloudError("terraform apply: The volume is in error status. Please check with your cloud admin")
    assert cloud.console.fault("job-1") == "".join(f"Cinder: {text}" for text in said)
    assert cause(error, cloud.console.fault("job-1")) is reason
    assert cloud.console.fault("job-2") == ""


def test_no_room_in_the_volume_storage_waits_until_a_machine_has_gone() -> None:
    assert (Reason.VOLUME_STORAGE_FULL.waits, Reason.VOLUME_STORAGE_FULL.passes_with_room) == (True, True)
    assert (Reason.NO_VALID_HOST.waits, Reason.NO_VALID_HOST.passes_with_room) == (True, True)


def test_messages_that_cinder_does_not_give_hide_nothing(cloud: OpenstackCloud, api: Double) -> None:
    api.add_server("job-1", status="ERROR", fault={"code": 500, "message": FAULT})
    api.add_volume("job-1", status="error")
    api.failing["/messages"] = (403, {"forbidden": {"message": "Policy doesn't allow message:get_all to be performed."}})
    assert cloud.console.fault("job-1") == FAULT


def test_a_fault_is_read_of_the_server_itself_and_means_what_it_says(cloud: OpenstackCloud, api: Double) -> None:
    api.add_server("job-1", status="ERROR", fault={"code": 500, "message": FAULT})
    error = CloudError("Error waiting for instance (s1) to become ready: unexpected state 'ERROR', wanted target 'ACTIVE'.")
    assert cloud.console.fault("job-1") == FAULT
    assert cause(error, cloud.console.fault("job-1")) is Reason.QUOTA_EXCEEDED
    assert cloud.console.fault("job-2") == ""


def test_a_console_that_cannot_be_read_hides_no_other_failure(cloud: OpenstackCloud, api: Double) -> None:
    api.add_server("job-1")
    assert cloud.console.log("job-1") == "Debian GNU/Linux 12\njob-1 login:"
    api.failing["/action"] = (503, "")
    assert cloud.console.log("job-1").startswith("(not known: ")
    api.failing["/servers"] = (503, "")
    assert cloud.console.fault("job-1") == ""


def test_the_promoted_snapshot_is_known_by_its_metadata_alone(cloud: OpenstackCloud, api: Double) -> None:
    with pytest.raises(TemplateMissing):
        cloud.images.check()
    api.add_snapshot("old", metadata=PROMOTED)
    api.add_snapshot("current", metadata={**TEMPLATE, "cumulus_promoted": "2000"})
    api.add_snapshot("never tried to its end", metadata=TEMPLATE)
    api.add_snapshot("half", status="creating", metadata={**TEMPLATE, "cumulus_promoted": "3000"})
    api.add_snapshot("another's", metadata={"cumulus_template": "other", "cumulus_promoted": "4000"})
    assert cloud.images.check() == ""
    assert cloud.images.current() == "current"
    assert [(one.name, one.promoted) for one in cloud.images.template().snapshots()] == [
        ("old", False),
        ("current", True),
    ]


def test_what_programs_a_machine_has_is_said_by_the_snapshot_and_nothing_is_refused_while_nobody_knows(
    cloud: OpenstackCloud, api: Double
) -> None:
    api.failing = {"/snapshots": (503, "")}
    assert cloud.images.has_program("diann")
    api.failing = {}
    assert cloud.images.has_program("diann")
    api.add_snapshot("first", metadata={**PROMOTED, "cumulus_programs": "msconvert,comet-ms"})
    cloud.resources()
    assert [name for name in ("msconvert", "diann") if cloud.images.has_program(name)] == ["msconvert"]


def test_an_app_is_refused_only_where_the_cloud_says_so_now(cloud: OpenstackCloud, api: Double) -> None:
    one = api.add_snapshot("first", metadata={**PROMOTED, "cumulus_apps": "0"})
    assert cloud.images.smoke_results().version("new_1", "new -V") is None
    api.snapshots[one]["metadata"] |= {"cumulus_apps": "1", f"cumulus_app_{short('new_1')}": f"{short('new -V')} new 1.0"}
    assert cloud.images.smoke_results().lacks("new_1", "new -V")  # clients ask for that every few seconds
    assert cloud.images.smoke_results().version("new_1", "new -V") == "new 1.0"
    api.failing["/snapshots"] = (503, "")
    assert cloud.images.smoke_results().version("new_1", "new -V") == "new 1.0"
    assert cloud.images.smoke_results().version("other_1", "other -V") is None
    assert cloud.images.smoke_results("first").version("new_1", "new -V") == "new 1.0"


def test_a_snapshot_of_another_version_is_worth_a_hint(cloud: OpenstackCloud, api: Double) -> None:
    one = api.add_snapshot("first", metadata={**PROMOTED, "cumulus_recipe": "older"})
    assert "`cumulus template build`" in cloud.images.check()
    api.snapshots[one]["metadata"]["cumulus_recipe"] = build_hash()
    assert cloud.images.check() == ""


def test_the_loop_s_question_for_the_snapshot_does_not_wait_for_the_cloud(cloud: OpenstackCloud, api: Double) -> None:
    one = api.add_snapshot("first", metadata=PROMOTED)
    cloud.resources()
    api.failing["/snapshots"] = (503, "")
    assert cloud.images.current() == "first"
    del api.failing["/snapshots"]
    api.snapshots[one]["name"] = "second"
    cloud.resources()  # the sweeper's look
    assert cloud.images.current() == "second"


def test_the_private_half_of_a_host_key_is_a_secret_and_new_for_each_machine(
    cloud: OpenstackCloud, api: Double, flavor: Flavor
) -> None:
    api.add_snapshot("first", metadata=PROMOTED)
    one, other = (cloud.terraform_vars(name, flavor) for name in ("job-1", "job-2"))
    assert isinstance(one["host_key_private"], SecretStr)
    assert one["host_key"] != other["host_key"]
    plain = {name: value for name, value in one.items() if name != "host_key_private"}
    assert "PRIVATE" not in json.dumps(plain) + repr(one)


@pytest.mark.parametrize(
    ("disk_gb", "told"),
    [
        (None, "have a disk of 2 GB, and the snapshot first needs 4 GB: raise the setting worker_disk_gb, or give it a DISK in"),
        (3, "have a disk of 3 GB, and the snapshot first needs 4 GB: raise its DISK in flavors.tsv"),
    ],
)
def test_a_disk_that_is_smaller_than_the_snapshot_is_refused_before_anything_is_made(
    cloud: OpenstackCloud, api: Double, flavor: Flavor, disk_gb: int | None, told: str
) -> None:
    api.add_snapshot("first", size=4, metadata=PROMOTED)
    with pytest.raises(CloudError, match=f"machines of m1.4xlarge {told}") as caught:
        cloud.terraform_vars("job-1", replace(flavor, disk_gb=disk_gb))
    assert caught.value.reason is Reason.FLAVOR_TOO_SMALL
    cloud.terraform_vars("job-1", replace(flavor, disk_gb=4))  # from now on it is known what the settings name
    api.calls.clear()
    assert cloud.terraform_vars("job-1", replace(flavor, disk_gb=4))["disk_gb"] == 4
    assert [call for call in api.calls if "/auth/" not in call] == [f"GET {CINDER}/snapshots/detail"]


def test_a_machine_that_is_being_made_keeps_its_disk_when_a_larger_snapshot_is_promoted(
    cloud: OpenstackCloud, api: Double, flavor: Flavor
) -> None:
    api.add_snapshot("first", size=4, metadata=PROMOTED)
    api.add_volume("job-1")
    assert cloud.terraform_vars("job-1", flavor)["disk_gb"] == 2
    with pytest.raises(CloudError):
        cloud.terraform_vars("job-2", flavor)


@pytest.mark.parametrize(
    ("user", "first"),
    [("debian", ["sudo", "-n", "/usr/local/sbin/cumulus-worker"]), ("root", ["/usr/local/sbin/cumulus-worker"])],
)
def test_a_job_is_started_as_root_with_the_site_s_storage(settings: Settings, user: str, first: list[str]) -> None:
    settings.openstack_user = user
    layout = OpenstackCloud(settings, OURS).layout("job-1", Path("/storage/jobs/Job_1"))
    assert list(layout.start_command) == [*first, "start", "--nfs", "127.0.0.1", "--port", "2049", "--job", "Job_1"]


def test_settings_that_nobody_gave_keep_a_controller_from_starting(settings: Settings) -> None:
    settings.openstack_nfs_host = ""
    assert OpenstackCloud(settings, OURS).problems() == [
        "the setting openstack_nfs_host is empty: give it the address of the NFS server as workers see it"
    ]
