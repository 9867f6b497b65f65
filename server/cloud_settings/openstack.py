"""The settings of OpenStack: where the cloud is, what its machines are made of, how their template is made."""

from enum import StrEnum
from ipaddress import IPv6Address

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from server.cloud_settings.limits import CloudSettings


class OpenstackBoot(StrEnum):
    """What the disk of an OpenStack machine is."""

    VOLUME = "volume"
    IMAGE = "image"


class OpenstackSettings(CloudSettings):
    """One OpenStack cloud, and the limits of its work."""

    openstack_cloud: str = Field("", description="The cloud's name in clouds.yaml; empty: the `OS_*` variables say where it is")
    openstack_boot: OpenstackBoot = Field(
        OpenstackBoot.VOLUME,
        description="Disk of the machines: `volume` (Cinder, from a snapshot), or `image` (the flavor's own disk, from an image; "
        "no Cinder is needed)",
    )
    openstack_network: str = Field("cumulus", description="Name or id of the network that workers are in")
    openstack_subnet: str = Field(
        "", description="Name or id of the subnet there for workers' addresses; empty: the cloud's choice"
    )
    openstack_security_group: str = Field("cumulus-worker", description="Name or id of the workers' security group")
    openstack_key_pair: str = Field("", description="Name of a key pair that may log in beside the controller's key; empty: none")
    openstack_availability_zone: str = Field("", description="Availability zone of the machines; empty: the cloud's choice")
    openstack_volume_availability_zone: str = Field(
        "", description="Availability zone of their volumes; empty: the cloud's choice"
    )
    openstack_server_group: str = Field(
        "", description="Name or id of the server group that spreads workers over hosts; empty: none"
    )
    openstack_volume_type: str = Field("", description="Name or id of the type of the workers' volumes; empty: the snapshot's")
    openstack_user: str = Field(
        "debian", pattern=r"^[a-z_][a-z0-9_-]{0,31}$", description="Who logs in on workers, root by `sudo` without a password"
    )
    openstack_nfs_host: str = Field(
        "",
        pattern=r"^([A-Za-z0-9.-]{0,253}|[0-9A-Fa-f:.]{2,45}|\[[0-9A-Fa-f:.]{2,45}\])$",
        description="NFS server as workers see it, a name or an IPv4 or IPv6 address; it shows `/data` and `/jobs`",
    )
    openstack_nfs_port: int = Field(2049, ge=1, le=65535, description="Its port")
    openstack_api_timeout_s: PositiveFloat = Field(30, description="Seconds that the cloud may take for one answer")
    openstack_template: str = Field(
        "cumulus-template",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="Name of the template's machine and volume; its snapshots carry it, so installations of one name share them",
    )
    openstack_template_volume: str = Field(
        "", description="Name or id of a volume on which the template is built; empty: one is made from the image"
    )
    openstack_template_image: str = Field("", description="Name or id of the image that the template is made from")
    openstack_template_flavor: str = Field("", description="Flavor of the template's machine; empty: `default_flavor`")
    openstack_template_volume_gb: PositiveInt = Field(20, description="GB of the template's volume; workers' are no smaller")

    @field_validator("openstack_nfs_host")
    @classmethod
    def _plain_address(cls, given: str) -> str:
        """Without brackets, which an address of IPv6 has in addresses of the web."""
        host = given.strip("[]")
        if ":" in host:
            try:
                return str(IPv6Address(host))
            except ValueError:
                raise ValueError(f"{host} is no address of IPv6") from None
        return host
