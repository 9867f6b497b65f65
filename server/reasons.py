"""Why an attempt or a job ended: the words for it, who can do something about it, and whether another attempt is worth it."""

from dataclasses import dataclass
from enum import StrEnum


class Blame(StrEnum):
    """Who can do something about a failure."""

    USER = "user"
    APP = "app"
    INFRASTRUCTURE = "infrastructure"
    ADMIN = "admin"

    @property
    def phrase(self) -> str:
        """Whose matter a failure is, told to the job's owner."""
        return _PHRASES[self]


_PHRASES = {
    Blame.USER: "You can correct this.",
    Blame.APP: "Its log says more.",
    Blame.INFRASTRUCTURE: "Your job is not the cause.",
    Blame.ADMIN: "Your administrator has to correct this.",
}


@dataclass(frozen=True)
class _Policy:
    blame: Blame
    text: str
    advice: str
    retryable: bool = False
    waits: bool = False


class Reason(StrEnum):
    """Why a job left its state other than by success."""

    CANCELLED = "cancelled"
    INPUT_MISSING = "input_missing"
    INPUT_INCOMPLETE = "input_incomplete"
    INPUT_FAULTY = "input_faulty"
    STEP_BEFORE_FAILED = "step_before_failed"
    UPLOAD_FAILED = "upload_failed"
    UPLOAD_REFUSED = "upload_refused"
    UPLOAD_TIMEOUT = "upload_timeout"
    CONVERSION_FAILED = "conversion_failed"
    INPUT_REJECTED = "input_rejected"
    APP_FAILED = "app_failed"
    STALLED = "stalled"
    RESULTS_NOT_SAVED = "results_not_saved"
    SETTINGS_UNUSABLE = "settings_unusable"
    APP_GONE = "app_gone"
    APP_NOT_INSTALLED = "app_not_installed"
    FLAVOR_GONE = "flavor_gone"
    MACHINE_NOT_CREATED = "machine_not_created"
    APP_NOT_STARTED = "app_not_started"
    MACHINE_LOST = "machine_lost"
    MACHINE_REMOVED = "machine_removed"
    RUN_TIMEOUT = "run_timeout"
    QUOTA_EXCEEDED = "quota_exceeded"
    NO_VALID_HOST = "no_valid_host"
    NETWORK_EXHAUSTED = "network_exhausted"
    NETWORK_MISSING = "network_missing"
    NETWORK_FAILED = "network_failed"
    SECURITY_GROUP_MISSING = "security_group_missing"
    NAME_UNKNOWN_TO_CLOUD = "name_unknown_to_cloud"
    NAME_AMBIGUOUS = "name_ambiguous"
    ZONE_UNUSABLE = "zone_unusable"
    VOLUME_STORAGE_FULL = "volume_storage_full"
    VOLUME_FAILED = "volume_failed"
    SNAPSHOT_MISSING = "snapshot_missing"
    FLAVOR_UNKNOWN_TO_CLOUD = "flavor_unknown_to_cloud"
    FLAVOR_TOO_SMALL = "flavor_too_small"
    CLOUD_REFUSED = "cloud_refused"
    CLOUD_UNREACHABLE = "cloud_unreachable"
    CLOUD_BUSY = "cloud_busy"
    CLOUD_FAILED = "cloud_failed"
    REGION_UNKNOWN = "region_unknown"
    CREATION_TIMEOUT = "creation_timeout"
    CONTROLLER_DISK_FULL = "controller_disk_full"
    SETUP_INCOMPLETE = "setup_incomplete"
    PROVIDER_CRASHED = "provider_crashed"
    TERRAFORM_LOCKED = "terraform_locked"
    TERRAFORM_STATE_UNREADABLE = "terraform_state_unreadable"
    MACHINE_UNREACHABLE = "machine_unreachable"
    MACHINE_REFUSES = "machine_refuses"
    HOST_KEY_CHANGED = "host_key_changed"
    MACHINE_DISK_FULL = "machine_disk_full"
    STORAGE_NOT_MOUNTED = "storage_not_mounted"
    FOLDER_GONE = "folder_gone"
    FOLDER_UNUSABLE = "folder_unusable"
    RESULT_UNREADABLE = "result_unreadable"
    CONTROLLER_FAULT = "controller_fault"

    @classmethod
    def known(cls, word: str) -> "Reason | None":
        """The reason of that name; None for anything else that a row may hold, such as ""."""
        return cls(word) if word in cls._value2member_map_ else None

    @property
    def blame(self) -> Blame:
        """Who can do something about it."""
        return _POLICIES[self].blame

    @property
    def retryable(self) -> bool:
        """Whether another attempt may do better; an app that ran and failed is never run again."""
        return _POLICIES[self].retryable

    @property
    def waits(self) -> bool:
        """Whether it is a trouble of the site: jobs wait until it is over and lose no attempt by it."""
        return _POLICIES[self].waits

    @property
    def is_transient(self) -> bool:
        """Whether the cloud may be well in the next moment: what was begun there is gone on with, without a pause for all."""
        return self in (Reason.CLOUD_BUSY, Reason.CLOUD_FAILED, Reason.CLOUD_UNREACHABLE)

    @property
    def is_of_some(self) -> bool:
        """Whether it holds up some jobs only, those of one machine size or of one app, and others can start all the same."""
        return self in (Reason.FLAVOR_UNKNOWN_TO_CLOUD, Reason.APP_NOT_INSTALLED)

    @property
    def passes_with_room(self) -> bool:
        """Whether the trouble may be over as soon as another machine has gone."""
        return self in _NO_ROOM

    @property
    def text(self) -> str:
        """One sentence for the job's owner: what happened."""
        return _POLICIES[self].text

    @property
    def advice(self) -> str:
        """One sentence for the administrator: what to do."""
        return _POLICIES[self].advice

    def explain(self, detail: str = "") -> str:
        """What the job's owner reads: what happened, whose matter it is, and ``detail``, a tool's own words."""
        whose = "" if self is Reason.CANCELLED else self.blame.phrase
        return " ".join(part for part in (self.text, whose, detail) if part)


def _again(text: str, advice: str) -> _Policy:
    """A failure of the infrastructure that may pass."""
    return _Policy(Blame.INFRASTRUCTURE, text, advice, retryable=True)


def _wait(blame: Blame, text: str, advice: str) -> _Policy:
    """A trouble of the site, however long it takes somebody to end it."""
    return _Policy(blame, text, advice, retryable=True, waits=True)


_NO_ROOM = frozenset({Reason.QUOTA_EXCEEDED, Reason.NO_VALID_HOST, Reason.NETWORK_EXHAUSTED, Reason.VOLUME_STORAGE_FULL})
_POLICIES = {
    Reason.CANCELLED: _Policy(Blame.USER, "The job was cancelled.", "Nothing is to be done."),
    Reason.INPUT_MISSING: _Policy(
        Blame.USER, "An input file is missing.", "Look whether the agent sends that file, and submit the job again."
    ),
    Reason.INPUT_INCOMPLETE: _Policy(
        Blame.USER,
        "An input file is not as it was sent.",
        "Look who changed it in the storage; submit the job again.",
    ),
    Reason.INPUT_FAULTY: _Policy(
        Blame.USER,
        "An input file is damaged, or not what its name says.",
        "Look at the file where it comes from; send it again, or without what is wrong with it.",
    ),
    Reason.STEP_BEFORE_FAILED: _Policy(
        Blame.USER, "The job that it starts after did not succeed.", "Look at the job before; submit both again."
    ),
    Reason.UPLOAD_FAILED: _Policy(
        Blame.USER, "An input file could not be sent.", "Look whether the file can be read where the agent runs."
    ),
    Reason.UPLOAD_REFUSED: _Policy(
        Blame.ADMIN,
        "The agent could not bring an input file to the storage.",
        'See docs/agent.md, "What failures mean"; then submit the job again.',
    ),
    Reason.UPLOAD_TIMEOUT: _Policy(
        Blame.USER, "The input files did not arrive in time.", "Look whether the agent runs; `upload_timeout_s` is the limit."
    ),
    Reason.CONVERSION_FAILED: _Policy(
        Blame.USER, "An input file could not be converted.", "Try the converter by hand on that file; it may be cut off."
    ),
    Reason.APP_FAILED: _Policy(Blame.APP, "The app failed.", "Read the job's log; the app's author may have to correct its XML."),
    Reason.INPUT_REJECTED: _Policy(
        Blame.USER, "The app cannot read an input file.", "Look at that file with another program; the message is the app's own."
    ),
    Reason.STALLED: _Policy(
        Blame.APP,
        "The app hung and was ended.",
        "Read the log's last lines: what does it wait for? `stall_timeout_s` of the app or the installation is the limit.",
    ),
    Reason.RESULTS_NOT_SAVED: _Policy(
        Blame.ADMIN,
        "Not all results could be saved in the storage.",
        "The job's message names them; those in `output/` are whole. Make room, or mend what it says, and submit the job again.",
    ),
    Reason.SETTINGS_UNUSABLE: _Policy(
        Blame.USER, "The settings do not fit the app.", "Compare the form with `cumulus apps preview`; the app may have changed."
    ),
    Reason.APP_GONE: _Policy(Blame.ADMIN, "The app is no longer offered.", "Put the app's XML back, or tell its users."),
    Reason.APP_NOT_INSTALLED: _wait(
        Blame.ADMIN,
        "The app is not installed on the machines.",
        "Make a snapshot that has it with `make snapshot`, or go back to one by `cumulus snapshot rollback`.",
    ),
    Reason.FLAVOR_GONE: _Policy(
        Blame.ADMIN, "The machine size is no longer offered.", "Put the size back into flavors.tsv, or tell its users."
    ),
    Reason.MACHINE_NOT_CREATED: _again(
        "No machine could be made.", "Read `.cumulus.failure.<attempt>` in the job's folder: what Terraform said is in it."
    ),
    Reason.APP_NOT_STARTED: _again(
        "The app could not be started on its machine.",
        "Read `.cumulus.failure.<attempt>` in the job's folder: what Ansible said is in it, and the machine's console.",
    ),
    Reason.MACHINE_LOST: _again(
        "The machine was lost.", "Look in the cloud's own log why it went; after `max_attempts` the job is given up."
    ),
    Reason.MACHINE_REMOVED: _again(
        "An administrator removed the machine.", "Nothing is to be done: another machine is made for the job."
    ),
    Reason.RUN_TIMEOUT: _Policy(
        Blame.APP,
        "The run took longer than this installation allows.",
        "Look in the job's log whether it still got on; `run_timeout_s` is the limit.",
    ),
    Reason.QUOTA_EXCEEDED: _wait(
        Blame.INFRASTRUCTURE,
        "The cloud's quota is used up.",
        "Raise the project's quota (instances, cores, RAM, volumes), or lower MAX_ACCUMULATED_WEIGHT in flavors.tsv.",
    ),
    Reason.NO_VALID_HOST: _wait(
        Blame.INFRASTRUCTURE,
        "The cloud has no room for a machine of this size.",
        "Wait, or ask who runs the cloud which of its hosts are full or down; on this computer: look at its memory.",
    ),
    Reason.NETWORK_EXHAUSTED: _wait(
        Blame.INFRASTRUCTURE,
        "The cloud has no network address left for a machine.",
        "Enlarge the subnet or the pool, or remove ports that nobody uses.",
    ),
    Reason.NETWORK_MISSING: _wait(
        Blame.ADMIN,
        "The network that machines are in is missing in the cloud.",
        "Make it, or correct `openstack_network` and `openstack_subnet`: `cumulus doctor` names what is missing.",
    ),
    Reason.NETWORK_FAILED: _again(
        "The cloud could not connect the machine to its network.",
        "Ask who runs the cloud for the network agent of that host; an attempt on another host may succeed.",
    ),
    Reason.SECURITY_GROUP_MISSING: _wait(
        Blame.ADMIN,
        "The machines' security group is missing in the cloud.",
        "Make it, or correct `openstack_security_group`: `cumulus doctor` names what is missing.",
    ),
    Reason.NAME_UNKNOWN_TO_CLOUD: _wait(
        Blame.ADMIN,
        "The settings name something that the cloud does not have.",
        "Make it, or correct the setting that `cumulus doctor` names.",
    ),
    Reason.NAME_AMBIGUOUS: _wait(
        Blame.ADMIN,
        "A name in the settings is that of several things in the cloud.",
        "Give the id in place of the name: `cumulus doctor` lists the ids.",
    ),
    Reason.ZONE_UNUSABLE: _wait(
        Blame.ADMIN,
        "The availability zone in the settings cannot be used.",
        "Correct `openstack_availability_zone` (machines) or `openstack_volume_availability_zone` (volumes).",
    ),
    Reason.VOLUME_STORAGE_FULL: _wait(
        Blame.INFRASTRUCTURE,
        "The cloud's volume storage has no room for a machine's disk.",
        "Wait, or ask who runs the cloud; volumes and snapshots that nobody needs take room (`cumulus snapshot prune`).",
    ),
    Reason.VOLUME_FAILED: _again(
        "The cloud could not make the machine's volume.",
        "Read Cinder's message in `.cumulus.failure.<attempt>`, or in `openstack volume message list`; ask who runs the cloud.",
    ),
    Reason.SNAPSHOT_MISSING: _wait(
        Blame.ADMIN,
        "The image that machines are made from is missing.",
        "Make one with `make snapshot`, or `cumulus snapshot rollback`.",
    ),
    Reason.FLAVOR_UNKNOWN_TO_CLOUD: _wait(
        Blame.ADMIN, "The cloud does not know this machine size.", "Make the names in flavors.tsv those of the cloud's flavors."
    ),
    Reason.FLAVOR_TOO_SMALL: _Policy(
        Blame.ADMIN,
        "This machine size is too small for the image.",
        "Give the size more disk or memory than the template has, or take it out of flavors.tsv.",
    ),
    Reason.CLOUD_REFUSED: _wait(
        Blame.ADMIN, "The cloud refuses the controller.", "Check the credentials (expired?), the project and its roles."
    ),
    Reason.CLOUD_UNREACHABLE: _wait(
        Blame.INFRASTRUCTURE, "The cloud does not answer.", "Check the network, the name service and the cloud's own state page."
    ),
    Reason.CLOUD_BUSY: _wait(
        Blame.INFRASTRUCTURE,
        "The cloud is overloaded.",
        "Wait; if it stays so, lower `parallel_steps`, `openstack_parallelism` or `openstack_requests_per_s`.",
    ),
    Reason.CLOUD_FAILED: _wait(
        Blame.INFRASTRUCTURE,
        "A service of the cloud failed.",
        "Nothing is to be done where it passes; else give who runs the cloud the request's id in `.cumulus.failure.<attempt>`.",
    ),
    Reason.REGION_UNKNOWN: _wait(
        Blame.ADMIN,
        "The cloud's catalogue does not have the region, or lacks a service there.",
        "Correct `region_name` in clouds.yaml, or `OS_REGION_NAME`: `openstack catalog list` shows the regions.",
    ),
    Reason.CREATION_TIMEOUT: _again(
        "The machine was not ready in time.",
        "Look at its console in `.cumulus.failure.<attempt>`; raise the limit that the message names, or `create_timeout_s`.",
    ),
    Reason.CONTROLLER_DISK_FULL: _Policy(
        Blame.ADMIN,
        "A disk of the controller or of the cloud is full.",
        "Make room: see `df`, `cumulus storage usage`.",
        retryable=True,
    ),
    Reason.SETUP_INCOMPLETE: _wait(
        Blame.ADMIN, "The controller lacks something that it needs to make machines.", "Run `cumulus doctor` and do what it says."
    ),
    Reason.PROVIDER_CRASHED: _again(
        "The program that makes machines crashed.", "Look for lack of memory (`dmesg`); report the crash with the kept output."
    ),
    Reason.TERRAFORM_LOCKED: _again(
        "The machine is being worked on by another process.", "Look for a terraform that hangs, or that somebody runs by hand."
    ),
    Reason.TERRAFORM_STATE_UNREADABLE: _again(
        "The record of the machine cannot be read.",
        "Look with `cumulus state` what the cloud still has of that machine, and remove it.",
    ),
    Reason.MACHINE_UNREACHABLE: _again(
        "The machine does not answer.", "Look at its console in `.cumulus.failure.<attempt>`, at its network and security groups."
    ),
    Reason.MACHINE_REFUSES: _again(
        "The machine does not let the controller in.", "Look whether the image takes the controller's ssh key at its first boot."
    ),
    Reason.HOST_KEY_CHANGED: _again(
        "The machine is not the one that was made.", "Look which machine has its address; if none should, suspect the network."
    ),
    Reason.MACHINE_DISK_FULL: _Policy(
        Blame.ADMIN, "The machine's disk is full.", "Give the machine size more disk in flavors.tsv or by `worker_disk_gb`."
    ),
    Reason.STORAGE_NOT_MOUNTED: _again(
        "The machine could not reach the storage.", "Look whether the NFS server runs, exports to the machines, and is not full."
    ),
    Reason.FOLDER_GONE: _Policy(
        Blame.ADMIN, "The job's folder is gone.", "Find out who removed it; the job has to be submitted again."
    ),
    Reason.FOLDER_UNUSABLE: _Policy(
        Blame.ADMIN,
        "The job's folder cannot be used.",
        "Look at the folder's owner, permissions and file system; submit the job again.",
    ),
    Reason.RESULT_UNREADABLE: _Policy(
        Blame.ADMIN,
        "How the app ended cannot be read.",
        "Look at `.cumulus.result` and `output/` in the job's folder; the app ran, so it is not run again by itself.",
    ),
    Reason.CONTROLLER_FAULT: _Policy(
        Blame.ADMIN, "The controller could not go on with the job.", "Report the controller's log of that time; it names the job."
    ),
}
