"""What each reason means to people and to the engine: who can fix it, its texts, whether another attempt is worth it.

The table is keyed by the reason's word, as rows and files have it; ``reasons.Reason`` is the enum of these words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Blame(StrEnum):
    """Who can fix a failure."""

    USER = "user"
    APP = "app"
    INFRASTRUCTURE = "infrastructure"
    ADMIN = "admin"

    @property
    def phrase(self) -> str:
        """Who can fix a failure, as the job's owner reads it."""
        return _PHRASES[self]


_PHRASES = {
    Blame.USER: "You can correct this.",
    Blame.APP: "Its log says more.",
    Blame.INFRASTRUCTURE: "Your job is not the cause.",
    Blame.ADMIN: "Your administrator has to correct this.",
}


@dataclass(frozen=True)
class ReasonPolicy:
    """What a reason means: who can fix it, what people read, and whether the job is tried again or waits."""

    blame: Blame
    text: str
    advice: str
    retryable: bool = False
    waits: bool = False


def _again(text: str, advice: str) -> ReasonPolicy:
    """A failure of the infrastructure that may pass."""
    return ReasonPolicy(Blame.INFRASTRUCTURE, text, advice, retryable=True)


def _wait(blame: Blame, text: str, advice: str) -> ReasonPolicy:
    """A failure of the site: jobs wait until somebody has fixed it."""
    return ReasonPolicy(blame, text, advice, retryable=True, waits=True)


POLICIES: Mapping[str, ReasonPolicy] = {
    "cancelled": ReasonPolicy(Blame.USER, "The job was cancelled.", "No action needed."),
    "input_missing": ReasonPolicy(
        Blame.USER, "An input file is missing.", "Check whether the agent sends that file, then submit the job again."
    ),
    "input_incomplete": ReasonPolicy(
        Blame.USER,
        "An input file is not as it was sent.",
        "Find out who changed it in the storage, then submit the job again.",
    ),
    "input_faulty": ReasonPolicy(
        Blame.USER,
        "An input file is damaged, or not what its name says.",
        "Check the file at its source; send it again, or fix it first.",
    ),
    "step_before_failed": ReasonPolicy(
        Blame.USER, "The job that it starts after did not succeed.", "Check the job before it, then submit both again."
    ),
    "upload_failed": ReasonPolicy(
        Blame.USER, "An input file could not be sent.", "Check whether the agent's computer can read the file."
    ),
    "upload_refused": ReasonPolicy(
        Blame.ADMIN,
        "The agent could not bring an input file to the storage.",
        'See docs/agent.md, "What failures mean"; then submit the job again.',
    ),
    "upload_timeout": ReasonPolicy(
        Blame.USER, "The input files did not arrive in time.", "Check whether the agent runs; `upload_timeout_s` is the limit."
    ),
    "conversion_failed": ReasonPolicy(
        Blame.USER, "An input file could not be converted.", "Try the converter by hand on that file; it may be cut off."
    ),
    "app_failed": ReasonPolicy(Blame.APP, "The app failed.", "Read the job's log; the app's author may have to correct its XML."),
    "input_rejected": ReasonPolicy(
        Blame.USER, "The app cannot read an input file.", "Open that file in another program; the message is the app's own."
    ),
    "stalled": ReasonPolicy(
        Blame.APP,
        "The app hung and was ended.",
        "Read the log's last lines: what does it wait for? `stall_timeout_s` of the app or the installation is the limit.",
    ),
    "results_not_saved": ReasonPolicy(
        Blame.ADMIN,
        "Not all results could be saved in the storage.",
        "The job's message names them; those in `output/` are whole. Make room, or fix what it names, then submit the job again.",
    ),
    "settings_unusable": ReasonPolicy(
        Blame.USER, "The settings do not fit the app.", "Compare the form with `cumulus apps preview`; the app may have changed."
    ),
    "app_gone": ReasonPolicy(Blame.ADMIN, "The app is no longer offered.", "Put the app's XML back, or tell its users."),
    "app_not_installed": _wait(
        Blame.ADMIN,
        "The app is not installed on the machines.",
        "Make a snapshot that has it with `make snapshot`, or return to one with `cumulus snapshot rollback`.",
    ),
    "flavor_gone": ReasonPolicy(
        Blame.ADMIN, "The machine size is no longer offered.", "Put the size back into flavors.tsv, or tell its users."
    ),
    "machine_not_created": _again(
        "No machine could be made.", "Read `.cumulus.failure.<attempt>` in the job's folder: what Terraform said is in it."
    ),
    "app_not_started": _again(
        "The app could not be started on its machine.",
        "Read `.cumulus.failure.<attempt>` in the job's folder: what Ansible said is in it, and the machine's console.",
    ),
    "machine_lost": _again(
        "The machine was lost.", "Check the cloud's log for the cause; after `max_attempts` the job is given up."
    ),
    "machine_removed": _again("An administrator removed the machine.", "No action needed: another machine is made for the job."),
    "run_timeout": ReasonPolicy(
        Blame.APP,
        "The run took longer than this installation allows.",
        "Check in the job's log whether it still made progress; `run_timeout_s` is the limit.",
    ),
    "quota_exceeded": _wait(
        Blame.INFRASTRUCTURE,
        "The cloud's quota is used up.",
        "Raise the project's quota (instances, cores, RAM, volumes), or lower MAX_ACCUMULATED_WEIGHT in flavors.tsv.",
    ),
    "no_valid_host": _wait(
        Blame.INFRASTRUCTURE,
        "The cloud has no room for a machine of this size.",
        "Wait, or ask the cloud's operators which hosts are full or down; on this computer: check its memory.",
    ),
    "network_exhausted": _wait(
        Blame.INFRASTRUCTURE,
        "The cloud has no network address left for a machine.",
        "Enlarge the subnet or the pool, or remove ports that nobody uses.",
    ),
    "network_missing": _wait(
        Blame.ADMIN,
        "The network that machines are in is missing in the cloud.",
        "Make it, or correct `openstack_network` and `openstack_subnet`: `cumulus doctor` names what is missing.",
    ),
    "network_failed": _again(
        "The cloud could not connect the machine to its network.",
        "Ask the cloud's operators about the network agent of that host; an attempt on another host may succeed.",
    ),
    "security_group_missing": _wait(
        Blame.ADMIN,
        "The machines' security group is missing in the cloud.",
        "Make it, or correct `openstack_security_group`: `cumulus doctor` names what is missing.",
    ),
    "name_unknown_to_cloud": _wait(
        Blame.ADMIN,
        "The settings name something that the cloud does not have.",
        "Make it, or correct the setting that `cumulus doctor` names.",
    ),
    "name_ambiguous": _wait(
        Blame.ADMIN,
        "A name in the settings is that of several things in the cloud.",
        "Give the id in place of the name: `cumulus doctor` lists the ids.",
    ),
    "zone_unusable": _wait(
        Blame.ADMIN,
        "The availability zone in the settings cannot be used.",
        "Correct `openstack_availability_zone` (machines) or `openstack_volume_availability_zone` (volumes).",
    ),
    "volume_storage_full": _wait(
        Blame.INFRASTRUCTURE,
        "The cloud's volume storage has no room for a machine's disk.",
        "Wait, or ask the cloud's operators; unused volumes and snapshots take up space (`cumulus snapshot prune`).",
    ),
    "volume_failed": _again(
        "The cloud could not make the machine's volume.",
        "Read Cinder's message in `.cumulus.failure.<attempt>` or `openstack volume message list`; ask the cloud's operators.",
    ),
    "snapshot_missing": _wait(
        Blame.ADMIN,
        "The image that machines are made from is missing.",
        "Make one with `make snapshot`, or `cumulus snapshot rollback`.",
    ),
    "flavor_unknown_to_cloud": _wait(
        Blame.ADMIN, "The cloud does not know this machine size.", "Make the names in flavors.tsv those of the cloud's flavors."
    ),
    "flavor_too_small": ReasonPolicy(
        Blame.ADMIN,
        "This machine size is too small for the image.",
        "Give the size more disk or memory than the template has, or take it out of flavors.tsv.",
    ),
    "cloud_refused": _wait(
        Blame.ADMIN, "The cloud refuses the controller.", "Check the credentials (expired?), the project and its roles."
    ),
    "cloud_unreachable": _wait(
        Blame.INFRASTRUCTURE, "The cloud does not answer.", "Check the network, the name service and the cloud's own state page."
    ),
    "cloud_busy": _wait(
        Blame.INFRASTRUCTURE,
        "The cloud is overloaded.",
        "Wait; if it stays so, lower `parallel_steps`, `openstack_parallelism` or `openstack_requests_per_s`.",
    ),
    "cloud_failed": _wait(
        Blame.INFRASTRUCTURE,
        "A service of the cloud failed.",
        "No action needed if it passes; otherwise give the cloud's operators the request's id from `.cumulus.failure.<attempt>`.",
    ),
    "region_unknown": _wait(
        Blame.ADMIN,
        "The cloud's catalogue does not have the region, or lacks a service there.",
        "Correct `region_name` in clouds.yaml, or `OS_REGION_NAME`: `openstack catalog list` shows the regions.",
    ),
    "creation_timeout": _again(
        "The machine was not ready in time.",
        "Read its console in `.cumulus.failure.<attempt>`; raise the limit that the message names, or `create_timeout_s`.",
    ),
    "controller_disk_full": ReasonPolicy(
        Blame.ADMIN,
        "A disk of the controller or of the cloud is full.",
        "Make room: see `df`, `cumulus storage usage`.",
        retryable=True,
    ),
    "setup_incomplete": _wait(
        Blame.ADMIN, "The controller lacks something that it needs to make machines.", "Run `cumulus doctor` and do what it says."
    ),
    "provider_crashed": _again(
        "The program that makes machines crashed.", "Check for lack of memory (`dmesg`); report the crash with the saved output."
    ),
    "terraform_locked": _again(
        "The machine is being worked on by another process.", "Find the terraform that hangs, or that somebody runs by hand."
    ),
    "terraform_state_unreadable": _again(
        "The record of the machine cannot be read.",
        "Check with `cumulus state` what the cloud still has of that machine, and remove it.",
    ),
    "machine_unreachable": _again(
        "The machine does not answer.", "Check its console in `.cumulus.failure.<attempt>`, its network and security groups."
    ),
    "machine_refuses": _again(
        "The machine does not let the controller in.",
        "Check whether the image accepts the controller's ssh key at its first boot.",
    ),
    "host_key_changed": _again(
        "The machine is not the one that was made.",
        "Find out which machine has its address; if none should, suspect the network.",
    ),
    "machine_disk_full": ReasonPolicy(
        Blame.ADMIN, "The machine's disk is full.", "Give the machine size more disk in flavors.tsv or by `worker_disk_gb`."
    ),
    "storage_not_mounted": _again(
        "The machine could not reach the storage.", "Check whether the NFS server runs, exports to the machines, and is not full."
    ),
    "folder_gone": ReasonPolicy(
        Blame.ADMIN, "The job's folder is gone.", "Find out who removed it; the job has to be submitted again."
    ),
    "folder_unusable": ReasonPolicy(
        Blame.ADMIN,
        "The job's folder cannot be used.",
        "Check the folder's owner, permissions and file system, then submit the job again.",
    ),
    "result_unreadable": ReasonPolicy(
        Blame.ADMIN,
        "How the app ended cannot be read.",
        "Check `.cumulus.result` and `output/` in the job's folder; the app ran, so it is not run again automatically.",
    ),
    "controller_fault": ReasonPolicy(
        Blame.ADMIN,
        "The controller could not continue with the job.",
        "Report the controller's log of that time; it names the job.",
    ),
}
