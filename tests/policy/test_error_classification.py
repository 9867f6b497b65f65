"""What tools say, word for word, and what it means for a job."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.policy.error_classification import classify
from server.reason_texts import Blame
from server.reasons import Reason

SERVERS = (
    "Error: Error creating OpenStack server: Expected HTTP response code [200 202] when accessing [POST http://c/v2.1/servers]"
)
QUOTA = Reason.QUOTA_EXCEEDED
SAID = [
    # OpenStack's services, by gophercloud and the official provider
    (
        f'{SERVERS}, but got 403 instead: {{"forbidden": {{"code": 403, "message": "Quota exceeded for instances: Requested 1, '
        'but already used 0 of 0 instances"}}',
        QUOTA,
    ),
    ("Quota exceeded for cores, instances, ram: Requested 1, 1, 512, but already used 0, 0, 0 of 0, 0, 100 cores", QUOTA),
    (
        "Build of instance 7c aborted: VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed "
        "gigabytes quota. Requested 2G, quota is 5G and 4G has been consumed.",
        QUOTA,
    ),
    ("VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded for quota 'volumes'.", QUOTA),
    (
        'but got 409 instead: {"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: [\'port\'].", '
        '"detail": ""}}',
        QUOTA,
    ),
    ("IP allocation over quota in pool public.", QUOTA),
    ("PortLimitExceeded: Maximum number of ports exceeded", QUOTA),
    ("The maximum number of instances reached", QUOTA),
    ("No valid host was found. There are not enough hosts available.", Reason.NO_VALID_HOST),
    ("u'NoValidHost', u'code': 500", Reason.NO_VALID_HOST),
    (
        "Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures for instance 7c9e2f1a.",
        Reason.NO_VALID_HOST,
    ),
    ("No valid host was found. Exceeded max scheduling attempts 3 for instance f4fb0526", Reason.NO_VALID_HOST),
    ("schedule allocate volume:No valid backend was found. No weighed backends available", Reason.VOLUME_STORAGE_FULL),
    ("Insufficient compute resources: Free memory 512.00 MB < requested 4096 MB.", Reason.NO_VALID_HOST),
    (
        '{"NeutronError": {"type": "IpAddressGenerationFailure", "message": "No more IP addresses available on network '
        'be3a70aa-6e55-42f3-9a7e-613267fa78f5.", "detail": ""}}',
        Reason.NETWORK_EXHAUSTED,
    ),
    ("ExternalIpAddressExhausted: Unable to find any IP address on external network", Reason.NETWORK_EXHAUSTED),
    ("Error: Unable to find flavor with name m9.none", Reason.FLAVOR_UNKNOWN_TO_CLOUD),
    ('{"badRequest": {"code": 400, "message": "Flavor m9.none could not be found."}}', Reason.FLAVOR_UNKNOWN_TO_CLOUD),
    (
        "Error: Your openstack_compute_flavor_v2 query returned no results. Please change your search criteria and try again.",
        Reason.FLAVOR_UNKNOWN_TO_CLOUD,
    ),
    ("Flavor's disk is too small for requested image. Flavor disk is 1 bytes, image is 2 bytes.", Reason.FLAVOR_TOO_SMALL),
    ("Flavor's memory is too small for requested image.", Reason.FLAVOR_TOO_SMALL),
    ("Volume is smaller than the minimum size specified in image metadata.", Reason.FLAVOR_TOO_SMALL),
    (
        "Error: Your openstack_blockstorage_snapshot_v3 query returned no results. Please change your search criteria.",
        Reason.SNAPSHOT_MISSING,
    ),
    (
        f'{SERVERS}, but got 400 instead: {{"badRequest": {{"code": 400, "message": "Snapshot 3b0e-11 could not be found."}}}}',
        Reason.SNAPSHOT_MISSING,
    ),
    ("Error: Your query returned no results. Please change your search criteria and try again.", Reason.SNAPSHOT_MISSING),
    ("Image 9844660d-0229-40a5-b91e-a90ac68 could not be found.", Reason.SNAPSHOT_MISSING),
    ("Can not find requested image", Reason.SNAPSHOT_MISSING),
    ("Image 9844660d is not active.", Reason.SNAPSHOT_MISSING),
    ("Error: Error creating OpenStack compute client: Authentication failed", Reason.CLOUD_REFUSED),
    ("The request you have made requires authentication. (HTTP 401)", Reason.CLOUD_REFUSED),
    ("Expected HTTP response code [200 203] when accessing [GET http://c:5000/v3], but got 401 instead", Reason.CLOUD_REFUSED),
    ("Could not find user: cumulus. (HTTP 401)", Reason.CLOUD_REFUSED),
    (
        "Error creating openstack_networking_port_v2: Request forbidden: [POST https://c:9696/v2.0/ports], error message: "
        '{"NeutronError": {"type": "PolicyNotAuthorized", "message": "rule:create_port"}}',
        Reason.CLOUD_REFUSED,
    ),
    ("Policy doesn't allow os_compute_api:servers:create to be performed. (HTTP 403)", Reason.CLOUD_REFUSED),
    (
        "Error: Error creating OpenStack compute client: No suitable endpoint could be found in the service catalog.",
        Reason.REGION_UNKNOWN,
    ),
    ("You must provide exactly one of DomainID or DomainName to authenticate by Username", Reason.CLOUD_REFUSED),
    ("Error: One of 'auth_url' or 'cloud' must be specified", Reason.CLOUD_REFUSED),
    (
        "Too many requests have been sent in a given amount of time. Pause requests, wait up to one minute, and try again.",
        Reason.CLOUD_BUSY,
    ),
    ("This request was rate-limited. (HTTP 413) OverLimit: Retry-After 34", Reason.CLOUD_BUSY),
    ("but got 503 instead: <html><h1>503 Service Unavailable</h1>", Reason.CLOUD_BUSY),
    ("MessagingTimeout: Timed out waiting for a reply to message ID 4f", Reason.CLOUD_BUSY),
    (
        'Error: Post "https://c:5000/v3/auth/tokens": dial tcp 10.0.0.1:5000: connect: connection refused',
        Reason.CLOUD_UNREACHABLE,
    ),
    ('Get "https://c:5000/": dial tcp: lookup cloud.example on 127.0.0.53:53: no such host', Reason.CLOUD_UNREACHABLE),
    ("net/http: TLS handshake timeout", Reason.CLOUD_UNREACHABLE),
    ("tls: failed to verify certificate: x509: certificate has expired or is not yet valid", Reason.CLOUD_UNREACHABLE),
    ("read tcp 10.0.0.2:4->10.0.0.1:5: read: connection reset by peer", Reason.CLOUD_UNREACHABLE),
    ("net/http: request canceled (Client.Timeout exceeded while awaiting headers)", Reason.CLOUD_UNREACHABLE),
    ("timeout while waiting for state to become 'ACTIVE' (last state: 'BUILD', timeout: 5m0s)", Reason.CREATION_TIMEOUT),
    (
        "Build of instance 7c aborted: Volume 1d did not finish being created even after we waited 188 seconds",
        Reason.CREATION_TIMEOUT,
    ),
    ("Virtual Interface creation failed", Reason.CREATION_TIMEOUT),
    # a name in the settings that is nothing in the cloud, or several things (shared/cases/cloud-texts.md is the first of these)
    (
        "Error: Your query returned no results. Please change your search criteria and try again.\n\n  with "
        "data.openstack_networking_network_v2.workers,\n  on main.tf line 10, in data "
        '"openstack_networking_network_v2" "workers":\n  10: data "openstack_networking_network_v2" "workers" {',
        Reason.NETWORK_MISSING,
    ),
    (
        'but got 404 instead: {"NeutronError": {"type": "NetworkNotFound", "message": "Network 8f2e could not be found.", '
        '"detail": ""}}',
        Reason.NETWORK_MISSING,
    ),
    ('{"NeutronError": {"type": "SubnetNotFound", "message": "Subnet 8f2e could not be found."}}', Reason.NETWORK_MISSING),
    ("Failed to create port on network 8f, because fixed_ips included invalid subnet 9a.", Reason.NETWORK_MISSING),
    ("Network 8f2e requires a subnet in order to boot instances on.", Reason.NETWORK_MISSING),
    ("Error: Could not find any matching network for name lab", Reason.NETWORK_MISSING),
    ("Error: No Security Group found with name: worker", Reason.SECURITY_GROUP_MISSING),
    (
        '{"NeutronError": {"type": "SecurityGroupNotFound", "message": "Security group 8f2e does not exist", "detail": ""}}',
        Reason.SECURITY_GROUP_MISSING,
    ),
    ("Unable to find security_group with name or id 'worker'", Reason.SECURITY_GROUP_MISSING),
    ("Error: Your query returned more than one result. Please try a more specific search criteria", Reason.NAME_AMBIGUOUS),
    ("Error: Your query returned more than one openstack_networking_subnet_v2. Please try a more", Reason.NAME_AMBIGUOUS),
    ("Error: More than one Security Group found with name: worker", Reason.NAME_AMBIGUOUS),
    ("Error: More than one servergroup found with this name: spread", Reason.NAME_AMBIGUOUS),
    ("Error: More than one network found for name lab", Reason.NAME_AMBIGUOUS),
    ("Error: Found 2 flavors matching m1.small", Reason.NAME_AMBIGUOUS),
    ("Multiple possible networks found, use a Network ID to be more specific.", Reason.NAME_AMBIGUOUS),
    (
        f'{SERVERS}, but got 400 instead: {{"badRequest": {{"code": 400, "message": "The requested availability zone is not '
        'available"}}',
        Reason.ZONE_UNUSABLE,
    ),
    ("Invalid input received: Availability zone 'west' is invalid.", Reason.ZONE_UNUSABLE),
    (
        "Invalid volume: Instance 7c and volume 1d are not in the same availability_zone. Instance is in nova. Volume is in west",
        Reason.ZONE_UNUSABLE,
    ),
    ('but got 400 instead: {"badRequest": {"code": 400, "message": "Invalid key_name provided."}}', Reason.NAME_UNKNOWN_TO_CLOUD),
    (
        'Error creating openstack_blockstorage_volume_v3: but got 404 instead: {"itemNotFound": {"code": 404, "message": "Volume '
        'type fast could not be found."}}',
        Reason.NAME_UNKNOWN_TO_CLOUD,
    ),
    ("Volume type with name fast disks could not be found.", Reason.NAME_UNKNOWN_TO_CLOUD),
    ("Error: Could not find any servergroup with this name: spread", Reason.NAME_UNKNOWN_TO_CLOUD),
    ("Instance group 8f2e could not be found.", Reason.NAME_UNKNOWN_TO_CLOUD),
    # volumes: Terraform knows no more than that one is in error, Cinder's messages do
    ("Cinder: schedule allocate volume:Could not find any available weighted backend.", Reason.VOLUME_STORAGE_FULL),
    (
        "Error: Error waiting for openstack_blockstorage_volume_v3 1d to become ready: The volume is in error status. Please "
        "check with your cloud admin or check the Block Storage API logs to see why this error occurred.",
        Reason.VOLUME_FAILED,
    ),
    (
        "Build of instance 7c aborted: Volume 1d did not finish being created even after we waited 3 seconds or 2 attempts. "
        "And its status is error.",
        Reason.VOLUME_FAILED,
    ),
    ("Cinder: copy image to volume:An unknown error occurred.", Reason.VOLUME_FAILED),
    ("Cinder: schedule allocate volume:Driver is not initialized at present.", Reason.VOLUME_FAILED),
    ("Bad or unexpected response from the storage volume backend API: no such pool", Reason.VOLUME_FAILED),
    ("Cinder: copy image to volume:Not enough quota resource for operation.", QUOTA),
    ("Cinder: copy image to volume:Image used for creating volume exceeds available space.", Reason.FLAVOR_TOO_SMALL),
    ("Quota exceeded, too many servers in group", QUOTA),
    ("Block Device Mapping is Invalid: failed to get snapshot 3b0e.", Reason.SNAPSHOT_MISSING),
    ("Invalid snapshot: Originating snapshot status must be one of 'available' values", Reason.SNAPSHOT_MISSING),
    (
        "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is 1 bytes",
        Reason.FLAVOR_TOO_SMALL,
    ),
    ("Only volume-backed servers are allowed for flavors with zero disk.", Reason.FLAVOR_TOO_SMALL),
    # the network's own trouble
    ("Build of instance 7c aborted: Failed to allocate the network(s), not rescheduling.", Reason.NETWORK_FAILED),
    ("Binding failed for port 5a, please check neutron logs for more information.", Reason.NETWORK_FAILED),
    ("Anti-affinity instance group policy was violated.", Reason.NO_VALID_HOST),
    # a service that fails: what failed inside it is its own matter
    (
        f'{SERVERS}, but got 500 instead: {{"computeFault": {{"code": 500, "message": "Unexpected API Error. Please report this '
        "at http://bugs.launchpad.net/nova/ and attach the Nova API log if possible.\\n<class "
        "'oslo_messaging.exceptions.MessagingTimeout'>\"}}}}",
        Reason.CLOUD_FAILED,
    ),
    (
        f'{SERVERS}, but got 500 instead: {{"computeFault": {{"message": "Unexpected API Error. <class '
        "'keystoneauth1.exceptions.http.Unauthorized'>\"}}}}",
        Reason.CLOUD_FAILED,
    ),
    ("Connection to glance host http://c:9292 failed: timed out", Reason.CLOUD_FAILED),
    ("Programming error choosing an endpoint.", Reason.REGION_UNKNOWN),
    ("public endpoint for compute service in Nope region not found", Reason.REGION_UNKNOWN),
    ("Region Nope is not a valid region name for cloud lab. Valid choices are One, Two.", Reason.REGION_UNKNOWN),
    ("The account is locked for user: be1d. (HTTP 401)", Reason.CLOUD_REFUSED),
    # Terraform
    (
        "│ Error: Error acquiring the state lock\n│ \n│ Error message: 2 problems:\n│ \n│ - Unsupported state file\n│ format: "
        "The state file could not be parsed as JSON:\n│ syntax error at byte offset 6.",
        Reason.TERRAFORM_STATE_UNREADABLE,
    ),
    (
        "Error message: Unsupported state file format: The state file uses format\nversion 5, which is not supported",
        Reason.TERRAFORM_STATE_UNREADABLE,
    ),
    (
        "Error: Error loading state: state snapshot was created by Terraform v0.13.3, which is newer than current v0.13.2",
        Reason.TERRAFORM_STATE_UNREADABLE,
    ),
    (
        "Error: Error acquiring the state lock\n\nError message: open terraform.tfstate: is a directory",
        Reason.TERRAFORM_STATE_UNREADABLE,
    ),
    (
        "Error: Error acquiring the state lock\n\nError message: resource temporarily unavailable\nLock Info:\n  ID:  8620d887",
        Reason.TERRAFORM_LOCKED,
    ),
    ("Error acquiring the state lock: open .terraform.tfstate.lock.info: no space left on device", Reason.CONTROLLER_DISK_FULL),
    (
        "Error: Failed to save state\n\nError saving state: write terraform.tfstate: no space left on device",
        Reason.CONTROLLER_DISK_FULL,
    ),
    (
        "│ Error: Plugin did not respond\n│ \n│ The plugin encountered an error, and failed to respond to the\n│ "
        "plugin6.(*GRPCProvider).ApplyResourceChange call.",
        Reason.PROVIDER_CRASHED,
    ),
    ("Unrecognized remote plugin message: Traceback", Reason.PROVIDER_CRASHED),
    ("Error: Failed to load plugin schemas: dial unix /run/x: connect: connection refused", Reason.PROVIDER_CRASHED),
    ("!!!!!!!! TERRAFORM CRASH !!!!!!!!", Reason.PROVIDER_CRASHED),
    ("panic: runtime error: invalid memory address or nil pointer dereference", Reason.PROVIDER_CRASHED),
    ("Error: Required plugins are not installed", Reason.SETUP_INCOMPLETE),
    ("Error: Inconsistent dependency lock file", Reason.SETUP_INCOMPLETE),
    (
        "Error: Failed to query available provider packages\nCould not retrieve the list of available versions: no such host",
        Reason.SETUP_INCOMPLETE,
    ),
    ("neither terraform nor tofu is installed: scripts/setup.sh installs one", Reason.SETUP_INCOMPLETE),
    ("terraform apply took longer than 300 s", Reason.CREATION_TIMEOUT),
    # our own provider and QEMU
    ("The machine job-7 could not be made: the machine was not ready in 300 s", Reason.CREATION_TIMEOUT),
    ("there is no machine image in /srv/qemu/snapshots/current: make template, then make snapshot", Reason.SNAPSHOT_MISSING),
    ("the machine image in /srv/qemu/snapshots/current lacks vmlinuz: make snapshot", Reason.SNAPSHOT_MISSING),
    ("a disk of 2 GB is too small: the template's has 20 GB", Reason.FLAVOR_TOO_SMALL),
    (
        "no disk for the machine: qemu-img: disk.qcow2: Could not resize file: No space left on device",
        Reason.CONTROLLER_DISK_FULL,
    ),
    ("a memory image needs 1024 MB on the disk, 3 MB are free", Reason.CONTROLLER_DISK_FULL),
    ("QEMU did not start: cannot set up guest memory 'ram': Cannot allocate memory", Reason.NO_VALID_HOST),
    ("QEMU did not start: Could not set up host forwarding rule 'tcp:127.0.0.1:40000-:22'", Reason.NETWORK_EXHAUSTED),
    ("the guest said nothing on its identity port in 60 s", Reason.MACHINE_UNREACHABLE),
    ("job-7 is being worked on by another process for 120 s", Reason.TERRAFORM_LOCKED),
    ("the terraform provider did not start (exit code 1), see /srv/log", Reason.PROVIDER_CRASHED),
    ("ganesha.nfsd is not installed: apt-get install nfs-ganesha nfs-ganesha-vfs", Reason.SETUP_INCOMPLETE),
    # ssh, Ansible
    (
        'fatal: [worker]: UNREACHABLE! => {"msg": "Failed to connect to the host via ssh: ssh: connect to host 10.0.0.9 port 22: '
        'Connection refused", "unreachable": true}',
        Reason.MACHINE_UNREACHABLE,
    ),
    ("the machine does not answer: ssh: connect to host 10.0.0.9 port 22: Connection timed out", Reason.MACHINE_UNREACHABLE),
    ("kex_exchange_identification: Connection closed by remote host", Reason.MACHINE_UNREACHABLE),
    ('Data could not be sent to remote host "10.0.0.9".', Reason.MACHINE_UNREACHABLE),
    ("the machine does not let the controller in: root@10.0.0.9: Permission denied (publickey).", Reason.MACHINE_REFUSES),
    ("Failed to connect to the host via ssh: Received disconnect: Too many authentication failures", Reason.MACHINE_REFUSES),
    ("the machine's host key is not the one it was made with: Host key verification failed.", Reason.HOST_KEY_CHANGED),
    ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", Reason.HOST_KEY_CHANGED),
    ("the machine did not finish the play within 180 s", Reason.CREATION_TIMEOUT),
    # the runner on the worker
    ("cumulus-runner: the storage at 10.0.2.2:2049 cannot be mounted: Connection refused", Reason.STORAGE_NOT_MOUNTED),
    ("cumulus-runner: the storage has no folder for Job_7: Stale file handle", Reason.STORAGE_NOT_MOUNTED),
    ("mount.nfs: access denied by server while mounting 10.0.0.1:/srv", Reason.STORAGE_NOT_MOUNTED),
    ("cumulus-runner: the job cannot be prepared: No space left on device: /var/lib/cumulus/job", Reason.MACHINE_DISK_FULL),
    ("cumulus-runner: the job's folder cannot be written: No space left on device: /srv/job", Reason.CONTROLLER_DISK_FULL),
    ("cumulus-runner: this machine has no user cumulus", Reason.SETUP_INCOMPLETE),
    # what tells nothing by itself: the stage's own reason is used
    (
        "Error waiting for instance (7c) to become ready: unexpected state 'ERROR', wanted target 'ACTIVE'.",
        None,
    ),
    ("Error: local-exec provisioner error\n\nError running command 'exit 3': exit status 3.", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "reason"), SAID)
def test_what_a_tool_says_has_its_reason(text: str, reason: Reason | None) -> None:
    assert classify(text) is reason


@pytest.mark.parametrize(("text", "reason"), [(text, reason) for text, reason in SAID if reason])
def test_frames_colours_and_broken_lines_make_no_difference(text: str, reason: Reason) -> None:
    framed = "\x1b[31m╷\x1b[0m\n│ " + text.replace(" ", "\n│ ") + "\n╵\n"
    assert classify(framed) is reason
    assert classify(text.upper()) is reason


@given(st.text())
def test_any_text_can_be_looked_at(text: str) -> None:
    assert classify(text) is None or isinstance(classify(text), Reason)


@pytest.mark.parametrize(
    "part",
    ["x", " ", "flavor a", "the storage at a", "connection to ", "application credential ", "one of auth_url", "│ \n", "\x1b[0"],
)
def test_a_million_characters_take_a_moment(part: str) -> None:
    begin = time.process_time()
    classify(part * (1_000_000 // len(part)))
    assert time.process_time() - begin < 3


@pytest.mark.parametrize(
    "reason", [Reason.SNAPSHOT_MISSING, Reason.FLAVOR_UNKNOWN_TO_CLOUD, Reason.CLOUD_REFUSED, Reason.SETUP_INCOMPLETE]
)
def test_what_another_attempt_would_only_meet_again_is_the_administrators_and_waited_for(reason: Reason) -> None:
    assert (reason.waits, reason.blame) == (True, Blame.ADMIN)


def test_every_reason_of_a_machine_is_told_by_some_text() -> None:
    told = {reason for _, reason in SAID}
    first, last = list(Reason).index(Reason.QUOTA_EXCEEDED), list(Reason).index(Reason.STORAGE_NOT_MOUNTED)
    assert set(list(Reason)[first : last + 1]) <= told
