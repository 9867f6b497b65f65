"""What Terraform's modules promise, read from their text: this needs no provider, so all modules are looked at everywhere."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hcl2
import pytest
from hcl2 import SerializationOptions

from server.settings import CHECKOUT

MODULES = CHECKOUT / "infra" / "terraform"
NAMES = sorted(str(path.parent.relative_to(MODULES)) for path in MODULES.glob("*/*/main.tf"))
MACHINES = [name for name in NAMES if name.endswith(("/worker", "/template"))]
OPENSTACK = [name for name in NAMES if name.startswith("openstack/")]
# What each cloud's machine has to be told, and tells. A cloud may want to know more; that has a default.
SHARED_VARIABLES = ["server_id", "worker", "flavor", "cpus", "memory_gb", "disk_gb", "snapshot", "ssh_public_key"]
SHARED_OUTPUTS = ["id", "address", "port", "user", "host_key", "pid", "console_log", "boot"]
PROVIDERS = {
    "qemu": ("cumulus.local/cumulus/qemu", "0.1.0"),
    "openstack": ("terraform-provider-openstack/openstack", ">= 3.0.0, < 4.0.0"),
}
# All that a provider is told by a module: how patient it is, and where the controller's gateway is. Neither says who we are.
PROVIDER_OPTIONS = {"max_retries": "${var.max_retries}", "endpoint_overrides": "${var.endpoints}"}
# What the provider (3.4) lets wait: a time limit of ours stands for each.
TIMED = {
    "openstack_blockstorage_volume_v3": {"create", "delete"},
    "openstack_compute_instance_v2": {"create", "update", "delete"},
    "openstack_compute_volume_attach_v2": {"create", "delete"},
    "openstack_networking_floatingip_v2": {"create", "delete"},
    "openstack_networking_network_v2": {"create", "delete"},
    "openstack_networking_port_v2": {"create", "delete"},
    "openstack_networking_router_interface_v2": {"create", "delete"},
    "openstack_networking_router_v2": {"create", "delete"},
    "openstack_networking_secgroup_rule_v2": {"delete"},
    "openstack_networking_secgroup_v2": {"delete"},
    "openstack_networking_subnet_v2": {"create", "delete"},
}
UNTIMED = {
    "openstack_compute_keypair_v2",
    "openstack_networking_floatingip_associate_v2",
    "openstack_networking_port_secgroup_associate_v2",
}
# What carries the installation's mark: the sweeper finds it by that.
MARKED = {"openstack_compute_instance_v2": "metadata", "openstack_blockstorage_volume_v3": "metadata"}
SECRET = re.compile(r"private|secret|password|passphrase|token|credential")
READING = SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)

Blocks = dict[str, dict[str, Any]]


@cache
def read(name: str) -> dict[str, list[dict[str, Any]]]:
    """All blocks of a module by kind."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((MODULES / name).glob("*.tf")):
        for kind, blocks in hcl2.loads(path.read_text(), serialization_options=READING).items():
            found.setdefault(kind, []).extend(blocks)
    return found


def named(name: str, kind: str) -> Blocks:
    """Variables or outputs of a module by name."""
    return {label: body for block in read(name).get(kind, []) for label, body in block.items()}


def resources(name: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Type, name and content of what a module makes."""
    for block in read(name).get("resource", []):
        for kind, one in block.items():
            for label, body in one.items():
                yield kind, label, body


def checks(variable: dict[str, Any]) -> list[tuple[str, str]]:
    """What a variable's value must be, and what is said where it is not."""
    return [(check["condition"], check["error_message"]) for check in variable.get("validation", [])]


def settings(name: str) -> dict[str, Any]:
    """A module's block ``terraform``."""
    (block,) = read(name)["terraform"]
    return block


def test_every_clouds_worker_and_template_are_looked_at() -> None:
    clouds = {name.split("/")[0] for name in NAMES}
    assert {f"{cloud}/{kind}" for cloud in clouds for kind in ("worker", "template")} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_has_all_that_belongs_to_one(name: str) -> None:
    folder = MODULES / name
    files = ("main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md", f"tests/{name.split('/')[1]}.tftest.hcl")
    assert [file for file in files if not (folder / file).is_file()] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_typed_described_and_validated(name: str) -> None:
    for label, variable in named(name, "variable").items():
        assert variable.get("type"), label
        assert variable.get("description", "").endswith((".", ")")), label
        assert checks(variable), label
        assert all(label in said for _, said in checks(variable)), f"what {label} must be is said without its name"


@pytest.mark.parametrize("name", NAMES)
def test_every_output_is_described(name: str) -> None:
    assert [label for label, output in named(name, "output").items() if not output.get("description")] == []


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("label", SHARED_VARIABLES)
def test_a_machine_is_told_the_same_on_every_cloud(name: str, label: str) -> None:
    first, here = named(MACHINES[0], "variable")[label], named(name, "variable")[label]
    assert (here["type"], checks(here), here["description"]) == (first["type"], checks(first), first["description"])
    assert "default" not in here


@pytest.mark.parametrize("name", MACHINES)
def test_what_one_cloud_alone_wants_to_know_has_a_default(name: str) -> None:
    own = {label: body for label, body in named(name, "variable").items() if label not in SHARED_VARIABLES}
    assert [label for label, body in own.items() if "default" not in body] == []


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_tells_the_same_on_every_cloud(name: str) -> None:
    outputs = named(name, "output")
    first = named(MACHINES[0], "output")
    assert [label for label in SHARED_OUTPUTS if label not in outputs] == []
    assert name.startswith("openstack/") or list(outputs) == SHARED_OUTPUTS
    for label in ("address", "port", "user", "host_key", "boot"):
        assert outputs[label]["description"] == first[label]["description"]


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_has_every_variable_and_output(name: str) -> None:
    readme = (MODULES / name / "README.md").read_text()
    assert [word for word in (*named(name, "variable"), *named(name, "output")) if f"`{word}`" not in readme] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_provider_is_pinned_and_the_state_lies_outside_of_the_tree(name: str) -> None:
    cloud, block = name.split("/")[0], settings(name)
    assert block["required_version"].startswith(">= 1.")
    assert [list(backend) for backend in block["backend"]] == [["local"]]
    required = {label: entry for entry in block.get("required_providers", []) for label, entry in entry.items()}
    assert {label: (entry["source"], entry["version"]) for label, entry in required.items()} == {
        label: pinned for label, pinned in PROVIDERS.items() if label == cloud
    }


@pytest.mark.parametrize("name", NAMES)
def test_no_module_knows_who_we_are_in_a_cloud(name: str) -> None:
    told = {
        option: value for block in read(name).get("provider", []) for body in block.values() for option, value in body.items()
    }
    assert told == {option: PROVIDER_OPTIONS[option] for option in told}


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_is_marked_as_one_and_not_told(name: str) -> None:
    variables = named(name, "variable")
    secret = {label for label in variables if SECRET.search(label)}
    assert {label for label in secret if variables[label].get("sensitive") is not True} == set()
    told = str(named(name, "output"))
    assert [label for label in secret if f"var.{label}" in told] == []


@pytest.mark.parametrize("name", OPENSTACK)
def test_nothing_is_waited_for_without_a_limit(name: str) -> None:
    for kind, label, body in resources(name):
        assert kind in TIMED or kind in UNTIMED, f"{kind} is new here: does its provider let it wait?"
        limits = {limit for block in body.get("timeouts", []) for limit in block}
        assert limits >= TIMED.get(kind, set()), f"{kind}.{label}"


@pytest.mark.parametrize("name", OPENSTACK)
def test_what_is_made_carries_the_mark_of_its_installation(name: str) -> None:
    keys = ("cumulus_site",) if name.endswith("/site") else ("cumulus_server", "cumulus_worker")
    tags = next((str(block["tags"]) for block in read(name).get("locals", []) if "tags" in block), "")
    for kind, label, body in resources(name):
        if kind in MARKED:
            mark = str(body.get(MARKED[kind], "")).replace("local.tags", tags)
            assert all(key in mark for key in keys), f"{kind}.{label}: {mark}"


@pytest.mark.parametrize("name", OPENSTACK)
def test_a_module_of_openstack_runs_nothing_on_the_controller(name: str) -> None:
    assert [label for _, label, body in resources(name) if "provisioner" in body] == []


def site(kind: str) -> dict[str, dict[str, Any]]:
    """The site's resources of one type by name."""
    return {label: body for found, label, body in resources("openstack/site") if found == kind}


def test_the_storage_is_not_destroyed_by_accident() -> None:
    (volume,) = site("openstack_blockstorage_volume_v3").values()
    assert [block["prevent_destroy"] for block in volume["lifecycle"]] == [True]


def test_every_rule_of_the_site_says_from_where_and_to_which_port() -> None:
    rules = site("openstack_networking_secgroup_rule_v2")
    assert {label: rule["port_range_min"] for label, rule in rules.items()} == {
        "controller_ssh": 22,
        "controller_https": 443,
        "controller_nfs": 2049,
        "controller_nfs_ipv6": 2049,
        "worker_ssh": 22,
        "worker_ssh_ipv6": 22,
    }
    for label, rule in rules.items():
        assert rule["port_range_min"] == rule["port_range_max"], label
        assert ("remote_ip_prefix" in rule) != ("remote_group_id" in rule), label
        assert rule["direction"] == "ingress", label


def test_workers_hear_the_controller_alone() -> None:
    rules = site("openstack_networking_secgroup_rule_v2").values()
    to_workers = [rule for rule in rules if "worker" in rule["security_group_id"]]
    assert [rule["remote_group_id"] for rule in to_workers] == ["${local.controller_group_id}"] * 2
    assert {rule["ethertype"] for rule in to_workers} == {"IPv4", "IPv6"}


def test_the_files_that_hold_values_of_a_site_are_not_in_the_tree() -> None:
    tracked = [path for path in MODULES.rglob("*.tfvars*") if ".terraform" not in path.parts]
    assert [str(Path(path).relative_to(MODULES)) for path in tracked] == []


@pytest.mark.parametrize("name", OPENSTACK)
def test_no_checksum_of_a_provider_is_fixed_that_depends_on_where_it_comes_from(name: str) -> None:
    assert not (MODULES / name / ".terraform.lock.hcl").exists()
