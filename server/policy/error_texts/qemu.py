"""What QEMU, its NFS server, and our own Terraform provider for it print when something fails."""

from server.policy.error_texts.texts import ErrorTexts
from server.reasons import Reason

TEXTS: ErrorTexts = {
    Reason.NETWORK_EXHAUSTED: (
        r"the nfs server got no port",
        r"could not set up host forwarding rule",
        r"qemu forwards no port to the machine",
    ),
    Reason.FLAVOR_TOO_SMALL: (r"a disk of [0-9.]{1,20} gb is too small",),
    Reason.SNAPSHOT_MISSING: (
        r"there is no machine image in ",
        r"the machine image in \S{1,400} lacks ",
        r"is no qcow2 file",
        r"could not open backing file",
        r"image is not in qcow2 format",
    ),
    Reason.CONTROLLER_DISK_FULL: (r"a memory image needs \d{1,12} mb on the disk",),
    Reason.NO_VALID_HOST: (
        r"cannot allocate memory",
        r"cannot set up guest memory",
    ),
    Reason.STORAGE_NOT_MOUNTED: (r"the nfs server does not run",),
    Reason.MACHINE_UNREACHABLE: (
        r"the guest said nothing on its identity port",
        r"the guest's identity port is not there",
    ),
    Reason.SETUP_INCOMPLETE: (r"could not access kvm kernel module",),
    Reason.CREATION_TIMEOUT: (
        r"the machine was not ready in ",
        r"the machine did not .{1,60} within \d",
    ),
    Reason.PROVIDER_CRASHED: (r"the terraform provider did not start",),
}
