"""What the words of Terraform, its providers, ssh and the runner on a worker mean for a job.

Owns the table from their texts to reasons. Pure; does not decide what becomes of the job (a reason's own policy does).

The texts are those of OpenStack's services and gophercloud, Terraform 1.x and OpenTofu, OpenSSH, Ansible, QEMU, and of our own
provider and runner. They are compared in lower case, and each run of blanks and of Terraform's frames counts as one blank:
Terraform breaks its lines where it likes.
"""

import re

from server.errors import CloudError, CumulusError, TemplateMissing
from server.reasons import Reason

_BLANKS = re.compile(r"[\s│╷╵]+")
_ESCAPES = re.compile(r"\x1b\[[0-9;]{0,20}m")

# The first that is found decides: what is told in passing by another failure stands behind it. No pattern has an unbounded
# repetition, so that the time is linear in the text's length.
_TEXTS: tuple[tuple[Reason, tuple[str, ...]], ...] = (
    (
        Reason.TERRAFORM_STATE_UNREADABLE,
        (
            r"unsupported state file format",
            r"state snapshot was created by terraform v[0-9.]{1,20}, which is newer",
            r"error (?:loading|refreshing|reading) state:? (?:unexpected end of json|eof)",
            r"failed to (?:load|read|decode) (?:the )?(?:prior )?state",
            r"state data in \S{1,200} does not have the expected content",
            r"decoding state file",
            r"open \S{0,400}terraform\.tfstate: is a directory",
        ),
    ),
    (
        Reason.HOST_KEY_CHANGED,
        (
            r"host key verification failed",
            r"remote host identification has changed",
            r"the machine's host key is not the one it was made with",
            r"offending (?:ecdsa|ed25519|rsa) key in ",
        ),
    ),
    (
        Reason.QUOTA_EXCEEDED,
        (
            r"quota exceeded",
            r"quotaexceeded",
            r"exceedsavailablequota",
            r"exceeds allowed \w{1,30} quota",
            r"over ?quota",
            r"quota_exceeded",
            r"(?:maximum number of|max) \w{1,30} (?:allowed )?(?:\(\d{1,9}\) )?(?:exceeded|reached)",
            r"(?:volume|snapshot|port|instance)limitexceeded",
            r"toomanyinstances",
            r"would exceed (?:the )?quota",
            r"not enough quota resource",
            r"too many servers in group",
            r"is over limit of \d{1,12} due to current usage",
        ),
    ),
    (
        Reason.NETWORK_EXHAUSTED,
        (
            r"no more ip addresses available",
            r"ipaddressgenerationfailure",
            r"nomorefixedips",
            r"no fixed ip addresses available",
            r"no more floating ips",
            r"externalipaddressexhausted",
            r"no available (?:ip|address|floating ip)",
            r"macaddressgenerationfailure",
            r"zero fixed ips available",
            r"failed to allocate the network\(s\) with error no (?:more )?fixed",
            r"the nfs server got no port",
            r"could not set up host forwarding rule",
            r"qemu forwards no port to the machine",
        ),
    ),
    (
        Reason.FLAVOR_TOO_SMALL,
        (
            r"flavor's (?:disk|memory) is too small",
            r"flavor(?:disk|memory)toosmall",
            r"flavor's disk is smaller than",
            r"only volume-backed servers are allowed for flavors with zero disk",
            r"image used for creating volume exceeds available space",
            r"size of specified image \S{1,60} is larger than volume size",
            r"flavordisksmallerthanimage|flavordisksmallerthanmindisk",
            r"volume is smaller than the minimum size",
            r"a disk of [0-9.]{1,20} gb is too small",
            r"is smaller than (?:the )?(?:image's|snapshot's|snapshot size|image minimum|original snapshot)",
            r"invalid volume size|invalid input received: volume size",
        ),
    ),
    (
        Reason.FLAVOR_UNKNOWN_TO_CLOUD,
        (
            r"unable to find flavor",
            r"flavor [\w.:-]{1,100} could not be found",
            r"flavornotfound",
            r"no flavor with (?:name|id|a name or id)",
            r"openstack_compute_flavor_v2 query returned no results",
            r"unable to retrieve openstack .{0,60}flavor",
        ),
    ),
    (
        Reason.NAME_AMBIGUOUS,
        (
            r"returned more than one (?:result|openstack_)",
            r"more than one (?:security group|servergroup|network|port|subnet|volume|image) (?:was )?(?:found|exists|matches)",
            r"found \d{1,9} \w{1,40} matching ",
            r"multiple possible networks found",
            r"networkambiguous",
            r"multiple (?:security groups?|security_group|networks?|images?) (?:found|matches|match)",
            r"nouniquematch",
        ),
    ),
    (
        Reason.NETWORK_MISSING,
        (
            r"openstack_networking_(?:network|subnet)_v2\W.{0,300}your query returned no results",
            r"your query returned no results\..{0,300}openstack_networking_(?:network|subnet)_v2",
            r"openstack_networking_(?:network|subnet)_v2 query returned no results",
            r"your query returned no openstack_networking_(?:network|subnet)",
            r"(?:network|subnet) (?:with id )?[\w.:-]{1,100} could not be found",
            r"could not find any matching (?:network|port)",
            r"unable to find network with name or id",
            r"(?:network|subnet)notfound",
            r"\binvalid subnet [\w-]{1,60}",
            r"network [\w.:-]{1,100} requires a subnet",
            r"networkrequiressubnet",
            r"either network uuid \S{1,60} is not present",
            r"no networks? (?:is |are )?(?:defined|available|found)",
            r"not allowed to create an interface on external network",
        ),
    ),
    (
        Reason.SECURITY_GROUP_MISSING,
        (
            r"no security group found with name",
            r"security group [\w.:'-]{1,100} (?:does not exist|not found|could not be found)",
            r"securitygroupnotfound",
            r"unable to find security_group with name or id",
            r"could not find security group",
        ),
    ),
    (
        Reason.ZONE_UNUSABLE,
        (
            r"the requested availability zone is not available",
            r"availability zone '?[\w.:-]{1,100}'? is (?:invalid|not available)",
            r"invalidavailabilityzone",
            r"not in the same availability_zone",
            r"availability[ _]zone \S{1,100} (?:could not be found|does not exist)",
        ),
    ),
    (
        Reason.NAME_UNKNOWN_TO_CLOUD,
        (
            r"invalid key_name provided",
            r"keypair [\w .:'@-]{1,255} (?:not|could not be) found",
            r"keypairnotfound",
            r"unable to find openstack_compute_keypair",
            r"volume type (?:with name )?[\w .:'-]{1,255} could not be found",
            r"volumetypenotfound",
            r"invalid volume[ _]type",
            r"can not find volume type|volume_type could not be found|volume type .{1,100} is not found",
            r"could not find any servergroup",
            r"(?:instance|server) group [\w .:'-]{1,255} could not be found",
            r"instancegroupnotfound",
        ),
    ),
    (
        Reason.SNAPSHOT_MISSING,
        (
            r"openstack_blockstorage_snapshot_v3 query returned no results",
            r"openstack_images_image_v2 query returned no results",
            r"your query returned no results\. please change your search criteria",
            r"(?:snapshot|image|volume) (?:with id )?[\w.:-]{1,100} could not be found",
            r"(?:image|snapshot)notfound",
            r"block device mapping is invalid: failed to get (?:snapshot|image|volume)",
            r"originating snapshot status must be",
            r"unable to find image",
            r"can not find requested image",
            r"no image with (?:name|id|a name or id)",
            r"image [\w.:-]{1,100} is not active|imagenotactive",
            r"image \S{1,100} is unacceptable",
            r"there is no machine image in ",
            r"the machine image in \S{1,400} lacks ",
            r"is no qcow2 file",
            r"could not open backing file",
            r"image is not in qcow2 format",
        ),
    ),
    (
        Reason.MACHINE_DISK_FULL,
        (
            r"the job cannot be prepared: (?:no space left on device|disk quota exceeded)",
            r"the machine's disk is full",
        ),
    ),
    (
        Reason.CONTROLLER_DISK_FULL,
        (
            r"no space left on device",
            r"not enough space on the disk",
            r"errno 28\b",
            r"errno 122\b",
            r"disk quota exceeded",
            r"insufficient free (?:virtual )?space",
            r"insufficientfreespace|insufficient_free_space",
            r"a memory image needs \d{1,12} mb on the disk",
            r"database or disk is full",
        ),
    ),
    (
        Reason.VOLUME_STORAGE_FULL,
        (
            r"could not find any available weighted backend",
            r"no (?:valid|weighed|weighted) backends? (?:was found|were found|available)",
            r"novalidbackend",
            r"schedule allocate volume:? ?no ",
        ),
    ),
    (
        Reason.NO_VALID_HOST,
        (
            r"no valid host was found",
            r"novalidhost",
            r"no valid host",
            r"anti-affinity instance group policy was violated",
            r"(?:anti-)?affinity server group policy",
            r"exceeded max(?:imum number of)? (?:retries|scheduling attempts)",
            r"maxretriesexceeded",
            r"exhausted all hosts available",
            r"not enough hosts available",
            r"insufficient compute resources",
            r"insufficientinstancecapacity",
            r"cannot allocate memory",
            r"cannot set up guest memory",
            r"out of memory",
        ),
    ),
    (
        Reason.NETWORK_FAILED,
        (
            r"failed to allocate the network\(s\)",
            r"binding failed for port",
            r"portbindingfailed|vif_type=binding_failed|failed to bind port",
        ),
    ),
    (
        Reason.VOLUME_FAILED,
        (
            r"the volume is in error status",
            r"and its status is error",
            r"(?:schedule allocate volume|copy image to volume|create volume from \w{1,30}): ?an unknown error occurred",
            r"driver is not initialized at present",
            r"volume driver (?:not ready|reported an error)",
            r"unexpected response from the storage volume backend",
            r"volumebackendapiexception",
            r"image signature verification failed",
            r"failed to copy (?:image|snapshot|volume) to volume",
            r"build of instance \S{1,60} aborted: (?:failure prepping block device|volume \S{1,60} is not)",
            r"block device mapping is invalid",
        ),
    ),
    (
        Reason.REGION_UNKNOWN,
        (
            r"programming error choosing an endpoint",
            r"no suitable (?:endpoint|service) could be found in the service catalog",
            r"endpoint for \S{1,60} service(?: in \S{1,100} region)? not found",
            r"is not (?:present )?in the service catalog|not present in the service catalog",
            r"is not a valid region name",
        ),
    ),
    (
        Reason.CLOUD_FAILED,
        (
            r"but got 500 instead",
            r"unexpected api error",
            r"(?:http|code|status):? ?500\b",
            r"internal server error",
            r"connection to (?:glance|neutron|cinder|placement)(?: host)? .{0,200}failed",
            r"(?:glance|cinder)connectionfailed",
            r"an unexpected error (?:prevented the server|occurred)",
        ),
    ),
    (
        Reason.STORAGE_NOT_MOUNTED,
        (
            r"the storage at \S{1,200} cannot be mounted",
            r"the storage has no folder for ",
            r"the nfs server does not run",
            r"mount\.nfs4?: ",
            r"access denied by server while mounting",
            r"stale (?:nfs )?file handle",
            r"job's folder cannot be (?:written|protected)",
            r"the job's folder has no plan",
        ),
    ),
    (
        Reason.MACHINE_REFUSES,
        (
            r"permission denied \((?:publickey|gssapi|password|keyboard)",
            r"permission denied, please try again",
            r"the machine does not let the controller in",
            r"too many authentication failures",
            r"no supported authentication methods",
        ),
    ),
    (
        Reason.MACHINE_UNREACHABLE,
        (
            r"ssh: connect to host ",
            r"failed to connect to the host via ssh",
            r"the machine does not answer",
            r"kex_exchange_identification",
            r"ssh_exchange_identification",
            r"connection to \S{1,100} (?:closed|timed out)",
            r"connection closed by \S{1,100} port",
            r"unreachable!",
            r"data could not be sent to (?:the )?remote host",
            r"timeout, server \S{1,100} not responding",
            r"mux_client_request_session",
            r"the guest said nothing on its identity port",
            r"the guest's identity port is not there",
        ),
    ),
    (
        Reason.CLOUD_REFUSED,
        (
            r"authentication failed",
            r"the request you have made requires authentication",
            r"but got 401 instead",
            r"(?:http|code|status):? ?401\b",
            r"\bunauthorized\b",
            r"invalid (?:user ?name|username) or password",
            r"could not find (?:user|project|domain|application credential)",
            r"application credential .{0,100}(?:expired|not found)",
            r"policy doesn't allow",
            r"policynotauthorized",
            r"you are not authorized to perform",
            r"one of .{0,100}auth_url.{0,200} must be (?:provided|specified)",
            r"missing one of the following|you must provide exactly one of domainid",
            r"missing input for argument \[?(?:auth_url|username|password)",
            r"request forbidden",
            r"cloud \S{1,100} was not found|no clouds\.yaml",
            r"cloud \S{1,100} does not exist",
            r"the account is locked for user",
            r"the password is expired",
            r"unable to re-authenticate",
            r"not a recognized fernet token|failed to validate token",
            r"(?:user|project|domain) is disabled",
        ),
    ),
    (
        Reason.CLOUD_BUSY,
        (
            r"too many requests",
            r"but got (?:429|502|503|504) instead",
            r"overlimit|over limit",
            r"rate ?limit",
            r"retry-after",
            r"(?:service unavailable|service is currently unavailable|service temporarily unavailable)",
            r"bad gateway",
            r"gateway time-?out",
            r"timed out waiting for a reply to message id",
            r"messagingtimeout",
        ),
    ),
    (
        Reason.SETUP_INCOMPLETE,
        (
            r"required plugins are not installed",
            r"inconsistent dependency lock file",
            r"failed to query available provider packages",
            r"failed to install provider",
            r"could not retrieve (?:the )?list of available versions",
            r"missing required provider",
            r"provider requirements cannot be satisfied by locked dependencies",
            r"backend initialization required",
            r"unsupported terraform core version",
            r"is not installed: apt-get install",
            r"neither terraform nor tofu is installed",
            r"the command was not found or was not executable: ssh",
            r"could not access kvm kernel module",
            r"this machine has no user ",
            r"cumulus-(?:runner|worker): (?:command )?not found",
        ),
    ),
    (
        Reason.CREATION_TIMEOUT,
        (
            r"took longer than [0-9.]{1,12} s",
            r"the machine was not ready in ",
            r"the machine did not do what it was told within",
            r"timeout while waiting for state to become",
            r"timeout waiting for (?:instance|server|volume)",
            r"context deadline exceeded(?! \(client)",
            r"timed out waiting for (?:privilege|volume|instance|server)",
            r"did not finish being created even after we waited",
            r"virtual interface creation failed|vif plugging timeout|vifplugging",
        ),
    ),
    (
        Reason.PROVIDER_CRASHED,
        (
            r"plugin did not respond",
            r"the plugin encountered an error, and failed to respond",
            r"terraform crashed|terraform crash",
            r"panic: ",
            r"fatal error: runtime",
            r"unrecognized remote plugin message",
            r"failed to (?:instantiate provider|load plugin schemas|start plugin)",
            r"could not load (?:the schema|plugin)",
            r"plugin exited before we could connect",
            r"error while dialing:? dial unix",
            r"transport is closing",
            r"the terraform provider did not start",
            r"provider produced (?:inconsistent|invalid)",
            r"signal: killed",
        ),
    ),
    (
        Reason.CLOUD_UNREACHABLE,
        (
            r"no such host",
            r"dial tcp",
            r"i/o timeout",
            r"connection refused",
            r"connection reset by peer",
            r"no route to host",
            r"network is unreachable",
            r"tls handshake timeout",
            r"x509: ",
            r"client\.timeout exceeded",
            r"context deadline exceeded \(client",
            r"temporary failure in name resolution",
            r"name or service not known",
            r"unexpected eof",
            r"failed to (?:connect to|discover available identity versions)",
        ),
    ),
    (
        Reason.TERRAFORM_LOCKED,
        (
            r"error acquiring the state lock",
            r"error locking state",
            r"state already locked",
            r"is being worked on by another process",
            r"workspace is already locked",
            r"text file busy",
        ),
    ),
)
_PATTERNS = tuple((reason, re.compile("|".join(texts))) for reason, texts in _TEXTS)


def classify(text: str) -> Reason | None:
    """Why a machine could not be made, or an app not be started on it, by what the tools said; None where the text tells nothing.

    Takes time linear in the text's length.
    """
    plain = _BLANKS.sub(" ", _ESCAPES.sub("", text)).lower()
    return next((reason for reason, pattern in _PATTERNS if pattern.search(plain)), None)


def cause(error: CumulusError, fault: str = "") -> Reason | None:
    """What it means that a machine could not be made, or an app not be started on it; None where nothing tells.

    ``fault``: what the cloud itself says of the machine, "" for nothing. It counts before the tools' words, which may be no more
    than that the machine is in ERROR; and of those the first error before all others.
    """
    if isinstance(error, CloudError) and error.reason:
        return error.reason
    if isinstance(error, TemplateMissing):
        return Reason.SNAPSHOT_MISSING
    return classify(fault) or classify(error.message) or classify(getattr(error, "output", ""))
