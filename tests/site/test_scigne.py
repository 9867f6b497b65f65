"""The example of a site is one that Terraform, Ansible and the controller would take."""

import re
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml
from hcl2 import SerializationOptions

from server.catalog.apps import Catalog
from server.catalog.flavors import Flavor, read_flavors
from server.settings import CHECKOUT, CloudName, Settings
from server.workers.clouds.openstack.site import missing_settings
from tests.workers.clouds.test_hcl import named

EXAMPLE = CHECKOUT / "examples" / "scigne"
README = (EXAMPLE / "README.md").read_text()
ROLE = CHECKOUT / "infra" / "ansible" / "roles" / "controller"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The controller's settings, read where they lie."""
    monkeypatch.chdir(EXAMPLE)
    return Settings()


def tfvars() -> dict[str, Any]:
    """The values for the site's module."""
    text = (EXAMPLE / "terraform.tfvars").read_text()
    return hcl2.loads(text, serialization_options=SerializationOptions(with_comments=False, strip_string_quotes=True))


def variables() -> dict[str, Any]:
    """The variables for the controller's role."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLE / "site.yml").read_text())
    return found


def test_the_settings_are_complete(settings: Settings) -> None:
    assert settings.cloud is CloudName.OPENSTACK
    assert missing_settings(settings) == []
    assert settings.storage == Path("/srv/cumulus/storage")
    assert settings.host == "127.0.0.1"


def test_the_settings_are_those_of_the_site_as_it_is_described(settings: Settings) -> None:
    assert settings.openstack_template_volume_gb == settings.worker_disk_gb == 500
    assert "4 processors, 8 GB" in (EXAMPLE / "cumulus.toml").read_text()
    assert settings.provisioning_limit_s > settings.making_limit_s


def test_the_sizes_are_there_and_the_client_finds_its_own(settings: Settings) -> None:
    assert settings.flavors == Path("/etc/cumulus/flavors.tsv")
    assert settings.default_flavor in read_flavors(EXAMPLE / "flavors.tsv")


def test_the_values_fit_the_sites_variables() -> None:
    given, wanted = tfvars(), named("openstack/site", "variable")
    assert set(given) <= set(wanted)
    assert {label for label, variable in wanted.items() if "default" not in variable} <= set(given)
    kinds = {"string": str, "number": int, "${list(string)}": list, "list(string)": list}
    for label, value in given.items():
        assert isinstance(value, kinds[wanted[label]["type"]]), label
    assert given["image"]
    assert given["flavor"]
    assert given.get("existing_key_pair") or given.get("ssh_public_key")


def test_the_values_are_those_of_the_site_as_it_is_described() -> None:
    assert (tfvars()["storage_gb"], tfvars()["controller_disk_gb"]) == (10_000, 40)


def test_terraform_ansible_and_the_controller_speak_of_the_same_things(settings: Settings) -> None:
    given, role = tfvars(), variables()
    assert settings.openstack_network == given["name"]
    assert settings.openstack_security_group == f"{given['name']}-worker"
    assert settings.openstack_key_pair == given["existing_key_pair"]
    assert role["controller_ssh_networks"] == given["ssh_networks"]
    assert role["controller_https_networks"] == given["https_networks"]
    assert role["controller_worker_network"] == given["subnet_cidr"]
    assert settings.openstack_nfs_host.startswith(given["subnet_cidr"].rpartition(".")[0])


def test_the_roles_variables_exist_and_all_that_must_be_given_is() -> None:
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert set(variables()) <= set(options)
    assert {name for name, option in options.items() if option.get("required")} <= set(variables())


def test_every_default_of_the_role_is_described_and_every_description_has_one() -> None:
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert set(options) == set(yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()))


def test_the_credentials_name_the_cloud_and_hold_no_secret(settings: Settings) -> None:
    clouds = yaml.safe_load((EXAMPLE / "clouds.yaml.example").read_text())["clouds"]
    cloud = clouds[settings.openstack_cloud]
    assert cloud["auth_type"] == "v3applicationcredential"
    assert cloud["auth"]["application_credential_secret"] == cloud["auth"]["application_credential_id"] == "REPLACE-ME"
    assert "password" not in (EXAMPLE / "clouds.yaml.example").read_text().replace("nobody's password", "")


def quota(name: str) -> int:
    """What the README says that the project needs of something."""
    found = re.search(rf"^\| {name} \| (\d+)", README, re.MULTILINE)
    assert found, name
    return int(found[1])


def most(flavors: list[Flavor], weight: int, worth: "dict[str, float]") -> float:
    """The most that machines of one weight in all can have together."""
    fitting = [flavor for flavor in flavors if flavor.weight <= weight]
    return max((worth[flavor.name] + most(flavors, weight - flavor.weight, worth) for flavor in fitting), default=0)


def test_the_quota_is_enough_for_all_machines_at_once(settings: Settings) -> None:
    flavors = read_flavors(EXAMPLE / "flavors.tsv")
    offered, canary = list(flavors.values()), flavors[settings.default_flavor]
    controller, template = (16, 64), (4, 8)
    machines = flavors.max_weight // min(flavor.weight for flavor in offered)
    assert quota("instances") >= machines + 3
    cpus = most(offered, flavors.max_weight, {flavor.name: flavor.cpus for flavor in offered})
    assert quota("cores") == cpus + canary.cpus + controller[0] + template[0]
    memory = most(offered, flavors.max_weight, {flavor.name: flavor.memory_gb for flavor in offered})
    assert quota("RAM") == memory + canary.memory_gb + controller[1] + template[1]
    disks = (machines + 1 + 2 + quota("snapshots")) * settings.worker_disk_gb
    assert quota("gigabytes") == tfvars()["storage_gb"] + tfvars()["controller_disk_gb"] + disks
    assert quota("volumes") >= machines + 1 + 2 + 2


def test_the_first_job_is_one_that_can_be_submitted() -> None:
    (app,) = re.findall(r"cumulus submit (\S+)", README)
    assert app in Catalog(CHECKOUT / "apps").apps()
    for name in re.findall(r"/tmp/bsa/(\S+)", README):
        assert (CHECKOUT / "examples" / "bsa" / name).is_file(), name


def test_every_file_of_the_example_is_described() -> None:
    assert [path.name for path in EXAMPLE.iterdir() if path.name not in README] == []
