"""Why an attempt or a job ended: the words for it, and what the engine asks of each. The texts are in ``reason_texts``."""

from enum import StrEnum

from server.reason_texts import POLICIES, Blame


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
        """Who can fix it."""
        return POLICIES[self].blame

    @property
    def retryable(self) -> bool:
        """Whether another attempt may do better; an app that ran and failed is never run again."""
        return POLICIES[self].retryable

    @property
    def waits(self) -> bool:
        """Whether it is a failure of the site: jobs wait until it is over and lose no attempt by it."""
        return POLICIES[self].waits

    @property
    def is_transient(self) -> bool:
        """Whether the cloud may be well in the next moment: what was begun there is resumed, without a pause for all jobs."""
        return self in (Reason.CLOUD_BUSY, Reason.CLOUD_FAILED, Reason.CLOUD_UNREACHABLE)

    @property
    def is_of_some(self) -> bool:
        """Whether it holds up some jobs only, those of one machine size or of one app, and others can start all the same."""
        return self in (Reason.FLAVOR_UNKNOWN_TO_CLOUD, Reason.APP_NOT_INSTALLED)

    @property
    def passes_with_room(self) -> bool:
        """Whether the failure may be over as soon as another machine has gone."""
        return self in _NO_ROOM

    @property
    def text(self) -> str:
        """One sentence for the job's owner: what happened."""
        return POLICIES[self].text

    @property
    def advice(self) -> str:
        """One sentence for the administrator: what to do."""
        return POLICIES[self].advice

    def explain(self, detail: str = "") -> str:
        """What the job's owner reads: what happened, who can fix it, and ``detail``, a tool's own words."""
        whose = "" if self is Reason.CANCELLED else self.blame.phrase
        return " ".join(part for part in (self.text, whose, detail) if part)


_NO_ROOM = frozenset({Reason.QUOTA_EXCEEDED, Reason.NO_VALID_HOST, Reason.NETWORK_EXHAUSTED, Reason.VOLUME_STORAGE_FULL})
