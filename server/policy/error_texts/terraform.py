"""What Terraform 1.x and OpenTofu print when something fails, apart from their providers' words."""

from server.policy.error_texts.texts import ErrorTexts
from server.reasons import Reason

TEXTS: ErrorTexts = {
    Reason.TERRAFORM_STATE_UNREADABLE: (
        r"unsupported state file format",
        r"state snapshot was created by terraform v[0-9.]{1,20}, which is newer",
        r"error (?:loading|refreshing|reading) state:? (?:unexpected end of json|eof)",
        r"failed to (?:load|read|decode) (?:the )?(?:prior )?state",
        r"state data in \S{1,200} does not have the expected content",
        r"decoding state file",
        r"open \S{0,400}terraform\.tfstate: is a directory",
    ),
    Reason.SETUP_INCOMPLETE: (
        r"required plugins are not installed",
        r"inconsistent dependency lock file",
        r"failed to query available provider packages",
        r"failed to install provider",
        r"could not retrieve (?:the )?list of available versions",
        r"missing required provider",
        r"provider requirements cannot be satisfied by locked dependencies",
        r"backend initialization required",
        r"unsupported terraform core version",
        r"neither terraform nor tofu is installed",
    ),
    Reason.CREATION_TIMEOUT: (
        r"took longer than [0-9.]{1,12} s",
        r"timeout while waiting for state to become",
        r"context deadline exceeded(?! \(client)",
    ),
    Reason.PROVIDER_CRASHED: (
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
        r"provider produced (?:inconsistent|invalid)",
        r"signal: killed",
    ),
    Reason.TERRAFORM_LOCKED: (
        r"error acquiring the state lock",
        r"error locking state",
        r"state already locked",
        r"is being worked on by another process",
        r"workspace is already locked",
        r"text file busy",
    ),
}
