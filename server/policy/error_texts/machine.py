"""What OpenSSH, Ansible and the runner on a worker print when a machine, or its storage, fails."""

from server.policy.error_texts.texts import ErrorTexts
from server.reasons import Reason

TEXTS: ErrorTexts = {
    Reason.HOST_KEY_CHANGED: (
        r"host key verification failed",
        r"remote host identification has changed",
        r"the machine's host key is not the one it was made with",
        r"offending (?:ecdsa|ed25519|rsa) key in ",
    ),
    Reason.MACHINE_DISK_FULL: (
        r"the job cannot be prepared: (?:no space left on device|disk quota exceeded)",
        r"the machine's disk is full",
    ),
    Reason.STORAGE_NOT_MOUNTED: (
        r"the storage at \S{1,200} cannot be mounted",
        r"the storage has no folder for ",
        r"mount\.nfs4?: ",
        r"access denied by server while mounting",
        r"stale (?:nfs )?file handle",
        r"job's folder cannot be (?:written|protected)",
        r"the job's folder has no plan",
    ),
    Reason.MACHINE_REFUSES: (
        r"permission denied \((?:publickey|gssapi|password|keyboard)",
        r"permission denied, please try again",
        r"the machine does not let the controller in",
        r"too many authentication failures",
        r"no supported authentication methods",
    ),
    Reason.MACHINE_UNREACHABLE: (
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
    ),
    Reason.SETUP_INCOMPLETE: (
        r"the command was not found or was not executable: ssh",
        r"this machine has no user ",
        r"cumulus-(?:runner|worker): (?:command )?not found",
    ),
}
