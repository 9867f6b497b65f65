"""The drawings of the documentation, written to ``docs/img``: ``.venv/bin/python -m scripts.drawings``.

Boxes and arrows on a grid, so that a change of the rooms is a change of a line here.
"""

from html import escape
from pathlib import Path

IMAGES = Path(__file__).parent.parent / "docs" / "img"
INK, PAPER, LINE, SOFT = "#1f2933", "#ffffff", "#52606d", "#7b8794"
BLUE, GREEN, SAND, ROSE, GREY = "#dbeafe", "#dcfce7", "#fef3c7", "#fee2e2", "#f1f5f9"


class Drawing:
    """An SVG that grows by boxes, arrows and words; coordinates are pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="DejaVu Sans, Verdana, sans-serif" font-size="13">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        ]

    def box(self, x: int, y: int, width: int, height: int, name: str, *lines: str, fill: str = GREY) -> None:
        """A box with a name in bold and lines below it."""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{LINE}" stroke-width="1.2"/>'
        )
        self.words(x + 10, y + 19, name, bold=True)
        for number, line in enumerate(lines):
            self.words(x + 10, y + 37 + 16 * number, line, size=11)

    def words(
        self,
        x: int,
        y: int,
        text: str,
        *,
        bold: bool = False,
        size: int = 13,
        colour: str = INK,
        middle: bool = False,
        halo: bool = False,
    ) -> None:
        """A line of text; ``middle``: centred at x; ``halo``: legible across lines."""
        weight = ' font-weight="bold"' if bold else ""
        anchor = ' text-anchor="middle"' if middle else ""
        edge = f' stroke="{PAPER}" stroke-width="4" paint-order="stroke"' if halo else ""
        self._parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}"{weight}{anchor}{edge}>{escape(text)}</text>'
        )

    def line(self, x1: int, y1: int, x2: int, y2: int, *, dashed: bool = False) -> None:
        """A plain line."""
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self._parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{SOFT}" stroke-width="1.2"{dash}/>')

    def arrow(self, x1: int, y1: int, x2: int, y2: int, text: str = "", *, dashed: bool = False) -> None:
        """A horizontal or vertical arrow, with words above or beside it."""
        self.line(x1, y1, x2, y2, dashed=dashed)
        if x1 == x2:
            back = -7 if y2 > y1 else 7
            points = f"{x2},{y2} {x2 - 4},{y2 + back} {x2 + 4},{y2 + back}"
        else:
            back = -7 if x2 > x1 else 7
            points = f"{x2},{y2} {x2 + back},{y2 - 4} {x2 + back},{y2 + 4}"
        self._parts.append(f'<polygon points="{points}" fill="{SOFT}"/>')
        if text and x1 == x2:
            self.words(x1 + 7, (y1 + y2) // 2 + 4, text, size=11)
        elif text:
            self.words((x1 + x2) // 2, y1 - 5, text, size=11, middle=True)

    def write(self, name: str) -> None:
        """Into ``docs/img``."""
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / name).write_text("\n".join([*self._parts, "</svg>", ""]))


def rooms() -> None:
    """The controller's rooms; imports point down."""
    it = Drawing(900, 700, "The rooms of the controller")
    left, width = 20, 860
    it.box(left, 16, 420, 52, "cli/  →  cumulus_client", "arguments → an operation → a table or --json", fill=BLUE)
    it.box(
        460,
        16,
        420,
        52,
        "application  ·  web/  ·  api/ (v1/, identity/, desktop/)",
        "requests → who asks → a call → an answer",
        fill=BLUE,
    )
    it.box(
        left,
        96,
        width,
        52,
        "services/",
        "what people and programs can ask for: jobs, batches, presets, uploads, accounts, usage, queue, machines, doctor, …",
        fill=GREEN,
    )
    it.box(
        left,
        176,
        width,
        124,
        "engine/",
        "carries rows through their lives: loop, intake, monitor, completion, ready_pool, breaker",
        fill=GREEN,
    )
    it.box(left + 20, 232, 260, 56, "engine/launching/", "from the queue to the app's start")
    it.box(left + 300, 232, 260, 56, "engine/records/", "files that outlive the database")
    it.box(left + 580, 232, 260, 56, "engine/duties/", "sweeper, retention, prewarming, time")
    it.box(left, 328, 420, 124, "workers/", "fleet, workspaces, orphaned processes", fill=SAND)
    it.box(left + 10, 384, 190, 56, "workers/clouds/", "qemu, openstack, local")
    it.box(left + 220, 384, 190, 56, "terraform/  ansible/", "child processes, connections")
    it.box(460, 328, 420, 124, "storage/", "the shared directory: job folders, data, trash", fill=SAND)
    it.box(470, 384, 190, 56, "storage/inputs/", "arrival, delivery, pinning")
    it.box(680, 384, 190, 56, "storage/logs/", "job logs as they are read")
    it.box(left, 480, 420, 52, "catalog/", "app XML → typed objects → a command line", fill=ROSE)
    it.box(460, 480, 420, 52, "policy/", "pure rules: scheduling, deadlines, what an error means", fill=ROSE)
    it.box(left, 560, 420, 52, "db/", "rows, transition(), migrations, search", fill=GREY)
    it.box(460, 560, 420, 52, "home/", "the installation's own files, locks, id", fill=GREY)
    it.box(
        left, 640, width, 44, "settings  ·  states  ·  reasons  ·  errors  ·  progress   (and the package programs/)", fill=GREY
    )
    for x in (230, 670):
        for y in (68, 148, 300, 452, 532, 612):
            it.arrow(x, y, x, y + 28)
    it.write("rooms.svg")


STEPS = (
    # from, to, what, by whom
    ("client", "service", "submit", "JobService.submit"),
    ("service", "rows", "row UPLOADING + folder", "JobStore.add"),
    ("client", "folder", "files, then .cumulus.rsync", "agent or cumulus submit"),
    ("loop", "folder", "pin the input; QUEUED", "Intake.prepare"),
    ("loop", "rows", "its turn: worker row; PROVISIONING", "Admission.admit"),
    ("loop", "folder", "the run plan", "Launcher.launch"),
    ("loop", "worker", "terraform apply; STARTING", "Fleet.launch"),
    ("loop", "worker", "start play; RUNNING", "Fleet.launch"),
    ("worker", "folder", "log, heartbeat; at last the result", "cumulus_runner"),
    ("loop", "folder", "sees the result; FINISHING", "Monitor.observe"),
    ("loop", "rows", "DONE, FAILED or CANCELLED", "Completion.finish"),
    ("loop", "worker", "teardown play, terraform destroy", "Teardown.remove, Fleet.remove"),
    ("loop", "rows", "worker row DELETED", "Teardown.remove"),
)


def job() -> None:
    """A job's way, from submission to its machine's end."""
    places = {"client": 80, "service": 250, "loop": 400, "rows": 560, "folder": 720, "worker": 880}
    names = {
        "client": ("client", "desktop, cli, agent"),
        "service": ("services/", "jobs"),
        "loop": ("engine/", "loop and its parts"),
        "rows": ("db/", "rows and events"),
        "folder": ("storage/", "the job's folder"),
        "worker": ("workers/", "one machine"),
    }
    fills = {"client": BLUE, "service": GREEN, "loop": GREEN, "rows": GREY, "folder": SAND, "worker": SAND}
    height = 110 + 46 * len(STEPS)
    it = Drawing(1180, height, "A job's way")
    for place, x in places.items():
        it.line(x, 66, x, height - 16, dashed=True)
        it.box(x - 68, 16, 136, 50, *names[place], fill=fills[place])
    it.words(980, 36, "in the code", bold=True)
    for number, (source, target, what, where) in enumerate(STEPS):
        y = 108 + 46 * number
        begin, end = places[source], places[target]
        it.arrow(begin, y, end, y)
        it.words(min(begin, end) + 6, y - 6, f"{number + 1}. {what}", size=11, halo=True)
        it.words(980, y + 4, where, size=11, colour=LINE)
    it.write("job.svg")


def asking() -> None:
    """Who asks the controller, how that is established, and a request's way to its service."""
    it = Drawing(1000, 470, "Who asks, and a request's way")
    askers = (
        ("a command on this computer", "the kernel says whose process it is", "Unix socket"),
        ("a person or a program", "cumulus login, cumulus_client, curl", "token"),
        ("a browser", "log-in by name, directory or link", "session"),
        ("desktop client, agent", "only in trusted_networks", "network"),
    )
    for number, (name, line, how) in enumerate(askers):
        y = 20 + 84 * number
        it.box(20, y, 270, 60, name, line, fill=BLUE)
        it.arrow(290, y + 30, 410, y + 30, how)
    it.box(
        410,
        20,
        210,
        312,
        "api/identity/",
        "address: trusted_proxies",
        "limits: 429",
        "Identification.identify",
        "",
        "→ a Principal: name, roles,",
        "   scopes, how it was known",
        "→ or 401, 403, in the words",
        "   of whoever asks",
        "",
        "refusals → audit",
        fill=ROSE,
    )
    for y, name, line, text in (
        (20, "api/v1/", "operation of cumulus_client", "pydantic → handler → JSON"),
        (116, "api/v1/uploads, web/", "tus; the page of a link", "the same principals"),
        (212, "api/desktop/", "forms, sentences, HTML", "the client's contract"),
    ):
        it.box(720, y, 260, 80, name, line, text, fill=GREEN)
        it.arrow(620, y + 40, 720, y + 40)
    it.box(
        410,
        390,
        570,
        60,
        "services/",
        "one call with the Principal: rights are decided here; typed views, typed errors",
        fill=GREEN,
    )
    it.arrow(850, 292, 850, 390, "one call")
    it.box(20, 390, 270, 60, "a command without a controller", "DirectCaller: the same handlers", fill=BLUE)
    it.arrow(290, 420, 410, 420, "own files")
    it.write("asking.svg")


def parts() -> None:
    """Programs, machines and directories of an installation."""
    it = Drawing(900, 366, "The parts of an installation")
    it.box(20, 30, 200, 86, "desktop client", "picks files, app, machine size;", "shows jobs, logs, results", fill=BLUE)
    it.box(20, 156, 200, 70, "cumulus, cumulus_client", "submit, jobs, logs, get, …", fill=BLUE)
    it.box(20, 276, 200, 70, "cumulus-agent", "on the laboratory's computer;", "a durable queue of files", fill=BLUE)
    it.box(
        340,
        30,
        220,
        196,
        "controller",
        "REST, queue and scheduling",
        "one loop carries every job",
        "",
        "SQLite: rows and events",
        "Terraform: makes machines",
        "Ansible: starts the app",
        fill=GREEN,
    )
    it.box(
        340,
        276,
        540,
        70,
        "shared storage (NFS)",
        "data/: files that jobs share",
        "jobs/: a folder for each job with input, log and results",
        fill=SAND,
    )
    it.box(680, 30, 200, 86, "worker for job 1", "made for the job,", "destroyed after it", fill=ROSE)
    it.box(680, 140, 200, 86, "worker for job 2", "runner: converts, runs", "the app, saves results", fill=ROSE)
    it.arrow(220, 73, 340, 73, "REST")
    it.arrow(220, 190, 340, 190, "API, token")
    it.arrow(220, 319, 340, 319, "rsync over ssh")
    it.arrow(560, 73, 680, 73, "make, start")
    it.arrow(560, 183, 680, 183, "destroy")
    it.arrow(450, 226, 450, 276, "run plan, log, result")
    it.arrow(780, 226, 780, 276, "mounts")
    it.write("parts.svg")


def main() -> None:
    """Draw all."""
    rooms()
    job()
    asking()
    parts()


if __name__ == "__main__":
    main()
