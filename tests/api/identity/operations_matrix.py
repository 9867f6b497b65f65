"""Who may ask for each operation of the API, written by hand: what scope it takes, whose thing it is about, what is asked.

``whose`` says who may: everybody who is a user, those who see ada's things, those who may change them, ada alone, those who look
after accounts or the installation. ``given``: the status for those who may, where that is not 200, such as where the
thing is in no state for it; the request is then refused for that, and by nothing before it.
"""

from dataclasses import dataclass, field
from typing import Any

CALLERS = (
    "anonymous",
    "user",
    "other",
    "teammate",
    "manager",
    "admin",
    "agent",
    "session",
    "forged",
    "trusted",
    "untrusted",
    "revoked",
    "expired",
    "reader",
    "local",
)
UNKNOWN = ("anonymous", "trusted", "untrusted", "revoked", "expired")  # nothing but a name, or a credential that is none
HERS = ("user", "session", "reader", "forged")  # ada, however it is known that it is her

#: Of what is somebody's: who sees it (with 200), who may not change it and why, for those who are not ada.
STRANGERS = {
    "everybody": {},
    "seen": dict.fromkeys(("other", "local"), 404),
    "changed": {"other": 404, "local": 404, "teammate": 403},
    "hers": dict.fromkeys(("other", "local", "teammate"), 404),
    "own": dict.fromkeys(("other", "local", "teammate", "manager"), 404),
    "as_her": dict.fromkeys(("other", "local", "teammate"), 403),
    "member": dict.fromkeys(("other", "local", "teammate"), 404),
    "administrator": dict.fromkeys(("user", "session", "reader", "other", "local", "teammate", "manager"), 403),
}


@dataclass(frozen=True)
class Row:
    """One operation. ``{job}``, ``{user}`` and so on in ``path`` and ``body`` stand for things that are made for each caller.

    ``but``: the status for some callers that differs from what ``whose`` says.
    """

    scope: str
    whose: str
    path: str
    body: dict[str, Any] | None = None
    given: int = 200
    but: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    data: bytes | None = None

    def of(self, caller: str, method: str) -> int:
        """What this caller is to get."""
        if caller in self.but:
            return self.but[caller]
        if caller in UNKNOWN:
            return 401
        if caller == "forged" and method not in ("GET", "HEAD"):  # a cookie that another site's page has the browser send
            return 403
        if caller == "reader" and self.scope != "read":
            return 403
        if caller == "agent":
            return 403
        as_whom = "user" if caller == "forged" else caller
        return STRANGERS[self.whose].get(as_whom, self.given)


FORM = {"text": "hello", "seconds": "0", "outcome": "ok"}
JOB = {"app": "probe_1.0", "flavor": "m1.4xlarge", "settings": FORM, "owner": "ada"}
BATCH = {"app": "probe_1.0", "flavor": "m1.4xlarge", "form": FORM, "files": ["shared.dat"], "owner": "ada"}
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
NEW_UPLOAD = {**TUS, "Upload-Length": "5", "Upload-Metadata": "filename eC5kYXQ="}
ANYBODY = dict.fromkeys((*UNKNOWN, "agent"), 200)
OWN_ONLY = {"user": 403, "session": 403, "manager": 403}  # not so: a role, a password without the old one
ADMIN, SEEN, CHANGED = "administrator", "seen", "changed"

ROWS: dict[tuple[str, str], Row] = {
    # jobs
    ("GET", "/jobs"): Row("read", "everybody", "/jobs"),
    ("POST", "/jobs"): Row("submit", "as_her", "/jobs", JOB, 201),
    ("GET", "/jobs/<job>"): Row("read", SEEN, "/jobs/{job}"),
    ("POST", "/jobs/<job>/cancel"): Row("submit", CHANGED, "/jobs/{job}/cancel", {}, but={"agent": 404}),
    ("DELETE", "/jobs/<job>"): Row("submit", CHANGED, "/jobs/{ended}", but={"agent": 404}),
    ("POST", "/jobs/<job>/retry"): Row("submit", CHANGED, "/jobs/{failed}/retry", {}, 201),
    ("POST", "/jobs/<job>/rerun"): Row("submit", CHANGED, "/jobs/{ended}/rerun", {}, 201),
    ("GET", "/jobs/<job>/log"): Row("read", SEEN, "/jobs/{ended}/log"),
    ("GET", "/jobs/<job>/log.txt"): Row("read", SEEN, "/jobs/{ended}/log.txt"),
    ("GET", "/jobs/<job>/results"): Row("read", SEEN, "/jobs/{ended}/results"),
    ("GET", "/jobs/<job>/results/<path:path>"): Row("read", SEEN, "/jobs/{ended}/results/result.txt"),
    ("GET", "/jobs/<job>/record"): Row("read", SEEN, "/jobs/{ended}/record"),
    ("GET", "/jobs/<job>/record/compared/<other>"): Row("read", SEEN, "/jobs/{ended}/record/compared/{job}"),
    ("GET", "/jobs/<job>/rerun"): Row("read", SEEN, "/jobs/{ended}/rerun"),
    # batches
    ("POST", "/batches/check"): Row("submit", "as_her", "/batches/check", BATCH),
    ("POST", "/batches"): Row("submit", "as_her", "/batches", BATCH, 201),
    ("GET", "/batches"): Row("read", "everybody", "/batches"),
    ("GET", "/batches/<batch>"): Row("read", SEEN, "/batches/{batch}"),
    ("POST", "/batches/<batch>/cancel"): Row("submit", CHANGED, "/batches/{batch}/cancel", {}),
    ("POST", "/batches/<batch>/retry"): Row("submit", CHANGED, "/batches/{batch}/retry", {}, 409),
    ("DELETE", "/batches/<batch>"): Row("submit", CHANGED, "/batches/{batch}", None, 409),
    # apps, workflows, presets
    ("GET", "/apps"): Row("read", "everybody", "/apps"),
    ("GET", "/apps/<app>"): Row("read", "everybody", "/apps/probe_1.0"),
    ("GET", "/apps/<app>/form"): Row("read", "everybody", "/apps/probe_1.0/form"),
    ("POST", "/apps/<app>/preview"): Row("read", "everybody", "/apps/probe_1.0/preview", {"settings": FORM}),
    ("GET", "/workflows"): Row("read", "everybody", "/workflows"),
    ("GET", "/workflows/<workflow>"): Row("read", "everybody", "/workflows/none", None, 404),
    ("GET", "/presets"): Row("read", "everybody", "/presets"),
    ("GET", "/presets/<name>"): Row("read", "own", "/presets/mine", but={"admin": 404}),
    ("PUT", "/presets/<name>"): Row("submit", "everybody", "/presets/new", {"app": "probe_1.0", "form": FORM}),
    ("DELETE", "/presets/<name>"): Row("submit", "own", "/presets/mine", but={"admin": 404}),
    # the installation
    ("GET", "/flavors"): Row("read", "everybody", "/flavors"),
    ("GET", "/flavors/comparison"): Row("read", ADMIN, "/flavors/comparison"),
    ("POST", "/flavors/sync"): Row("admin", ADMIN, "/flavors/sync", {}),
    ("GET", "/storage"): Row("read", ADMIN, "/storage"),
    ("POST", "/storage/cleaning"): Row("read", ADMIN, "/storage/cleaning", {}),
    ("POST", "/storage/cleaning/<plan>"): Row("admin", ADMIN, f"/storage/cleaning/{'0' * 32}", {}, 404),
    ("GET", "/storage/files"): Row("read", "everybody", "/storage/files"),
    ("GET", "/storage/files/<path:path>"): Row("read", "everybody", "/storage/files/none.dat", None, 404),
    ("DELETE", "/storage/files/<path:path>"): Row("submit", "everybody", "/storage/files/none.dat", None, 404),
    ("GET", "/storage/quota"): Row("read", "everybody", "/storage/quota"),
    ("GET", "/storage/trash"): Row("read", ADMIN, "/storage/trash"),
    ("POST", "/storage/restore"): Row("admin", ADMIN, "/storage/restore", {"name": "job-1"}, 404),
    ("GET", "/queue"): Row("read", "everybody", "/queue"),
    ("GET", "/queue/drain"): Row("read", ADMIN, "/queue/drain"),
    ("POST", "/queue/drain"): Row("admin", ADMIN, "/queue/drain", {"reason": "a test"}),
    ("POST", "/queue/resume"): Row("admin", ADMIN, "/queue/resume", {}),
    ("PUT", "/jobs/<job>/priority"): Row("admin", ADMIN, "/jobs/{job}/priority", {"priority": 1}),
    ("GET", "/workers"): Row("read", "everybody", "/workers"),
    ("POST", "/jobs/<job>/hold"): Row("admin", ADMIN, "/jobs/{job}/hold", {}, 422),
    ("DELETE", "/jobs/<job>/hold"): Row("admin", ADMIN, "/jobs/{job}/hold", None, 422),
    ("GET", "/orphans"): Row("read", ADMIN, "/orphans"),
    ("POST", "/orphans/remove"): Row("admin", ADMIN, "/orphans/remove", {}),
    ("GET", "/quota"): Row("read", ADMIN, "/quota"),
    ("GET", "/workspaces"): Row("read", ADMIN, "/workspaces"),
    ("GET", "/workspaces/<name>/drift"): Row("read", ADMIN, "/workspaces/job-9/drift", None, 404),
    ("GET", "/workspaces/<name>/lock"): Row("read", ADMIN, "/workspaces/job-9/lock", None, 404),
    ("POST", "/workspaces/<name>/unlock"): Row("admin", ADMIN, "/workspaces/job-9/unlock", {}, 404),
    ("POST", "/workspaces/<name>/forget"): Row("admin", ADMIN, "/workspaces/job-9/forget", {}, 404),
    ("POST", "/workspaces/<name>/destroy"): Row("admin", ADMIN, "/workspaces/job-9/destroy", {}, 404),
    ("GET", "/workspaces/<name>/removal"): Row("read", ADMIN, "/workspaces/job-9/removal"),
    ("GET", "/snapshots"): Row("read", ADMIN, "/snapshots"),
    ("POST", "/snapshots/rollback"): Row("admin", ADMIN, "/snapshots/rollback", {}),
    ("POST", "/snapshots/prune"): Row("admin", ADMIN, "/snapshots/prune", {"keep": 3}),
    ("GET", "/system"): Row("read", "everybody", "/system"),
    ("GET", "/usage"): Row("read", "everybody", "/usage"),
    ("GET", "/usage.csv"): Row("read", "everybody", "/usage.csv"),
    # accounts
    ("GET", "/me"): Row("read", "everybody", "/me", but={"agent": 200}),
    ("GET", "/users"): Row("read", "everybody", "/users"),
    ("GET", "/users/<user>"): Row("read", "hers", "/users/ada"),
    ("POST", "/users"): Row("admin", ADMIN, "/users", {"name": "newcomer", "role": "admin"}, 201),
    ("PATCH", "/users/<user>"): Row("admin", "hers", "/users/ada", {"role": "admin"}, but=OWN_ONLY),
    ("POST", "/users/<user>/password"): Row("admin", "hers", "/users/ada/password", {"new": "a long new password"}, but=OWN_ONLY),
    ("POST", "/users/<user>/invitation"): Row("admin", ADMIN, "/users/{user}/invitation", {}),
    ("POST", "/users/<user>/disable"): Row("admin", ADMIN, "/users/{user}/disable", {}),
    ("POST", "/users/<user>/enable"): Row("admin", ADMIN, "/users/{user}/enable", {}),
    ("DELETE", "/users/<user>"): Row("admin", ADMIN, "/users/{user}"),
    ("GET", "/groups"): Row("read", "everybody", "/groups"),
    ("GET", "/groups/<group>"): Row("read", "member", "/groups/lab"),
    ("POST", "/groups"): Row("admin", ADMIN, "/groups", {"name": "gang"}, 201),
    ("PATCH", "/groups/<group>"): Row("admin", ADMIN, "/groups/lab", {"shares_jobs": True}),
    ("DELETE", "/groups/<group>"): Row("admin", ADMIN, "/groups/lab"),
    ("PUT", "/groups/<group>/members/<user>"): Row(
        "admin", ADMIN, "/groups/lab/members/{user}", {"is_manager": False}, but={"manager": 200}
    ),
    ("DELETE", "/groups/<group>/members/<user>"): Row("admin", ADMIN, "/groups/lab/members/ada", but={"manager": 200}),
    ("GET", "/tokens"): Row("read", "everybody", "/tokens"),
    ("POST", "/tokens"): Row("admin", ADMIN, "/tokens", {"name": "stolen", "scopes": ["read"], "owner": "{user}"}, 201),
    ("DELETE", "/tokens/<token>"): Row("read", "own", "/tokens/{token}", but={"reader": 403}),
    ("GET", "/audit"): Row("read", "everybody", "/audit"),
    # uploads
    ("OPTIONS", "/uploads"): Row("read", "everybody", "/uploads", None, 204, dict.fromkeys((*UNKNOWN, "agent", "forged"), 204)),
    ("GET", "/uploads"): Row("read", "everybody", "/uploads"),
    ("POST", "/uploads"): Row("submit", "everybody", "/uploads", None, 201, headers=NEW_UPLOAD),
    ("POST", "/uploads/stored"): Row("submit", "hers", "/uploads/stored", {"job": "{job}", "filename": "x.dat"}, 409),
    ("OPTIONS", "/uploads/<upload>"): Row(
        "read", "everybody", "/uploads/{upload}", None, 204, dict.fromkeys((*UNKNOWN, "agent", "forged"), 204)
    ),
    ("GET", "/uploads/<upload>"): Row("read", "hers", "/uploads/{upload}", but={"agent": 404}),
    ("PATCH", "/uploads/<upload>"): Row("submit", "hers", "/uploads/{upload}", None, 204, {"agent": 404}, PART, b"hello"),
    ("DELETE", "/uploads/<upload>"): Row("submit", "hers", "/uploads/{upload}", None, 204, {"agent": 404}, TUS),
    ("POST", "/uploads/<upload>"): Row(
        "submit", "hers", "/uploads/{upload}", None, 204, {"agent": 404}, {**PART, "X-HTTP-Method-Override": "PATCH"}, b"hello"
    ),
    # the description of all that, which says nothing of anybody
    ("GET", "/openapi.json"): Row("read", "everybody", "/openapi.json", but=ANYBODY),
    ("GET", "/docs"): Row("read", "everybody", "/docs", but=ANYBODY),
}
