"""The settings of patience with a cloud: how long each thing may take, how often it is asked again, and what follows from both.

Owns those names, units and defaults, and that the limits fit into each other; nothing else reads more than one of them.
"""

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from programs.http.door_settings import DoorSettings

OWN_TIME_S = 120.0  # of a terraform beside what it waits for: its start, its look at what is there, its requests


class CloudSettings(DoorSettings):
    """Limits of one cloud's work. OpenStack's own ones reach Terraform as the module's variable ``limits``."""

    create_timeout_s: PositiveFloat = Field(
        300, description="Seconds that making a machine may take; on OpenStack no less than its own limits together"
    )
    delete_timeout_s: PositiveFloat = Field(
        120, description="Seconds that removing a machine may take; on OpenStack no less than its own limits together"
    )
    provisioning_timeout_s: float = Field(
        900,
        ge=0,
        description="Seconds that one attempt may wait for its machine; 0: no limit; on OpenStack, where it is not given: "
        "as long as making a machine may take, and one more `openstack_volume_create_s`",
    )
    cloud_patience_s: PositiveFloat = Field(
        300,
        description="Seconds for which a cloud that is busy or does not answer is asked again before no more machines are made",
    )
    openstack_retries: NonNegativeInt = Field(
        6, le=20, description="Times that a request which gets 429, 5xx or no answer is repeated; also Terraform's `max_retries`"
    )
    openstack_requests_per_s: float = Field(
        20, ge=0, description="Requests a second that the controller itself makes at most; 0: no limit"
    )
    openstack_parallelism: PositiveInt = Field(
        4, description="Requests that one terraform has under way at once; `parallel_steps` are at work at most"
    )
    openstack_volume_create_s: PositiveInt = Field(
        3600, description="Seconds that the copy of the snapshot into a worker's volume may take"
    )
    openstack_volume_delete_s: PositiveInt = Field(600, description="Seconds that removing a volume may take")
    openstack_port_create_s: PositiveInt = Field(300, description="Seconds that making a port may take")
    openstack_port_delete_s: PositiveInt = Field(300, description="Seconds that removing a port may take")
    openstack_server_create_s: PositiveInt = Field(
        900, description="Seconds that making a server may take, its boot not included"
    )
    openstack_server_delete_s: PositiveInt = Field(600, description="Seconds that stopping or removing a server may take")
    openstack_snapshot_create_s: PositiveInt = Field(
        3600, description="Seconds that the copy of the template into a snapshot may take"
    )
    openstack_snapshot_delete_s: PositiveInt = Field(600, description="Seconds that removing a snapshot may take")
    openstack_template_create_s: PositiveInt = Field(
        3600, description="Seconds that the copy of the image into the template's volume may take"
    )

    @property
    def is_openstack(self) -> bool:
        """Whether its own limits count."""
        return str(getattr(self, "cloud", "")) == "openstack"

    @property
    def making_limit_s(self) -> float:
        """Seconds after which a terraform that makes a worker is ended: it never cuts off what it may still wait for."""
        parts = self.openstack_volume_create_s, self.openstack_port_create_s, self.openstack_server_create_s
        return max(self.create_timeout_s, sum(parts) + OWN_TIME_S) if self.is_openstack else self.create_timeout_s

    @property
    def removal_limit_s(self) -> float:
        """The same for one that removes a worker."""
        parts = self.openstack_volume_delete_s, self.openstack_port_delete_s, self.openstack_server_delete_s
        return max(self.delete_timeout_s, sum(parts) + OWN_TIME_S) if self.is_openstack else self.delete_timeout_s

    @property
    def template_limit_s(self) -> float:
        """The same for one that makes the template's machine, and its volume where there is none."""
        return self.openstack_template_create_s + self.openstack_server_create_s + self.openstack_server_delete_s + OWN_TIME_S

    @property
    def provisioning_limit_s(self) -> float:
        """Seconds that an attempt may wait for its machine; 0: no limit. A copy that was too slow is waited for once more."""
        if not self.is_openstack or "provisioning_timeout_s" in self.model_fields_set or not self.provisioning_timeout_s:
            return self.provisioning_timeout_s
        return max(self.provisioning_timeout_s, self.making_limit_s + self.openstack_volume_create_s)

    def require_fitting_limits(self) -> None:
        """Raises ValueError where an attempt would end before Terraform gives up waiting for its machine."""
        if 0 < self.provisioning_limit_s < self.making_limit_s and self.is_openstack:
            raise ValueError(
                f"provisioning_timeout_s = {self.provisioning_limit_s:.0f} would end an attempt whose machine may still be made: "
                f"openstack_volume_create_s, openstack_port_create_s, openstack_server_create_s allow {self.making_limit_s:.0f}. "
                "Leave provisioning_timeout_s out, or lower those"
            )

    def terraform_limits(self) -> dict[str, int]:
        """The value of the OpenStack modules' variable ``limits``."""
        names = (
            "volume_create",
            "volume_delete",
            "port_create",
            "port_delete",
            "server_create",
            "server_delete",
            "template_create",
        )
        return {f"{name}_s": int(getattr(self, f"openstack_{name}_s")) for name in names}
