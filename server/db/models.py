"""The rows: Job, Worker, Event, Conversion, StoredSetting, Sighting, SubmissionKey, Batch, Preset, Upload,
JobBytes.

Owns the schema's Python side (its history is in ``migrations``). Knows nothing of clouds, folders or HTTP.
"""

from typing import Self

from peewee import AutoField, BooleanField, CompositeKey, FloatField, IntegerField, Model, TextField

from server.db.cached_sql import rows


class Row(Model):
    """Base of all tables; bound to a database by :func:`server.db.connection.open_database`."""

    id = AutoField()

    @classmethod
    def get_by_id(cls, pk: int) -> Self:
        """The row of that number. Raises DoesNotExist."""
        found = rows(cls, "id = ?", pk)
        if not found:
            raise cls.DoesNotExist(f"{cls._meta.table_name} {pk}")  # type: ignore[attr-defined]  # made by peewee
        return found[0]


class Stateful(Row):
    """Base of the tables whose rows have a state. Times are Unix seconds; no work on a row starts before ``not_before``."""

    state = TextField()
    state_since = FloatField()
    not_before = FloatField(default=0.0)
    created = FloatField()
    ended = FloatField(null=True)


class Job(Stateful):
    """One run of an app for its owner; ``settings``: the form as JSON text, ``inputs``: the input files' names, a line each.

    ``spared``: uncounted attempts, which a failure of the site, or an administrator, ended.
    ``warning``: what a job that is done warns of, a line each; ``figures``: what its app says it found, as JSON text.
    ``batch_position``: counted from 1; ``replaced_by``: the job that was tried in its place in the batch. ``kept_bytes``: what it
    keeps in the storage since its end, None where that was not measured.
    """

    owner = TextField()
    app = TextField()
    flavor = TextField()
    weight = IntegerField()
    description = TextField(default="")
    settings = TextField()
    inputs = TextField(default="")
    workflow = TextField(default="")
    start_after = IntegerField(null=True)
    folder = TextField(unique=True)
    outcome = TextField(default="")
    reason = TextField(default="")
    message = TextField(default="")
    attempt = IntegerField(default=0)
    spared = IntegerField(default=0)
    warning = TextField(default="")
    figures = TextField(default="")
    priority = IntegerField(default=0)
    started = FloatField(null=True)
    batch_id = IntegerField(null=True)
    batch_position = IntegerField(null=True)
    batch_label = TextField(default="")
    replaced_by = IntegerField(null=True)
    kept_bytes = IntegerField(null=True)

    class Meta:
        table_name = "job"


class Worker(Stateful):
    """One machine, from the request for it to its confirmed end. Its name is its Terraform workspace.

    ``held_until``: it stays that long (Unix seconds) for inspection should its job fail.
    """

    name = TextField(unique=True)
    job_id = IntegerField(null=True)
    flavor = TextField()
    weight = IntegerField()
    address = TextField(default="")
    port = IntegerField(default=0)
    boot = TextField(default="")
    attempt = IntegerField(default=1)
    failures = IntegerField(default=0)
    held_until = FloatField(default=0.0)
    message = TextField(default="")

    class Meta:
        table_name = "worker"


def worker_name(job_id: int, attempt: int) -> str:
    """The name of the machine for an attempt of a job, and so of its Terraform workspace."""
    return f"job-{job_id}" if attempt == 1 else f"job-{job_id}-{attempt}"


class Event(Row):
    """What happened to a job or a worker: who, why, when. Written with the change itself."""

    at = FloatField()
    subject = TextField()
    subject_id = IntegerField()
    who = TextField()
    old = TextField()
    new = TextField()
    reason = TextField(default="")
    text = TextField(default="")

    class Meta:
        table_name = "event"


class Conversion(Row):
    """A shared input, the ``number``-th of its job, that becomes mzML; ``key``: the name of the result in the storage."""

    job_id = IntegerField()
    number = IntegerField()
    name = TextField()
    key = TextField()

    class Meta:
        table_name = "conversion"


class StoredSetting(Model):
    """A text that the installation remembers by its name."""

    name = TextField(primary_key=True)
    value = TextField()
    at = FloatField()
    who = TextField()

    class Meta:
        table_name = "switch"


class Sighting(Model):
    """Something that a clean-up has found: first ``at`` (Unix seconds), when controllers had run for ``elapsed`` seconds."""

    kind = TextField()
    name = TextField()
    at = FloatField()
    elapsed = FloatField()
    bytes = IntegerField(default=0)

    class Meta:
        table_name = "look"
        primary_key = CompositeKey("kind", "name")


class SubmissionKey(Model):
    """The key that a principal's submission had, and the job that it made. ``digest``: of what was asked for."""

    principal = TextField()
    key = TextField()
    at = FloatField()
    digest = TextField()
    job_id = IntegerField()

    class Meta:
        table_name = "submission_key"
        primary_key = CompositeKey("principal", "key")


class Batch(Row):
    """Jobs that were submitted together, ``size`` of them. ``request_digest``: of all that was asked for with ``request_key``."""

    owner = TextField()
    app = TextField()
    name = TextField()
    request_key = TextField(default="")
    request_digest = TextField(default="")
    size = IntegerField()
    created = FloatField()

    class Meta:
        table_name = "batch"


class Preset(Row):
    """A named form (JSON text) for an app: of its owner, or of a team, and then without an owner."""

    owner = TextField()
    team = TextField()
    name = TextField()
    app = TextField()
    app_name = TextField()
    flavor = TextField()
    description = TextField()
    form = TextField()
    changed = FloatField()
    changed_by = TextField()

    class Meta:
        table_name = "preset"


class Upload(Model):
    """A file that comes by HTTP. ``received``: bytes that are on the disk, ``expires``: when it is given up (Unix seconds).

    ``shared``: for ``data/``, else for its job alone; ``stored``: nobody sends it, its job uses the storage's; ``sha256``: what
    it has to have, "" where its sender did not say, ``digest``: what it has; ``place``: where it is, relative to the storage.
    """

    id = TextField(primary_key=True)
    owner = TextField()
    name = TextField()
    job_id = IntegerField(null=True)
    shared = BooleanField()
    stored = BooleanField(default=False)
    length = IntegerField()
    received = IntegerField(default=0)
    sha256 = TextField(default="")
    digest = TextField(default="")
    state = TextField()
    created = FloatField()
    expires = FloatField()
    ended = FloatField(null=True)
    place = TextField(default="")
    modified_ns = IntegerField(default=0)
    message = TextField(default="")

    class Meta:
        table_name = "upload"


class JobBytes(Model):
    """What a job's folder took when it was measured (``at``, Unix seconds): files that have no other name."""

    job_id = IntegerField(primary_key=True)
    owner = TextField()
    bytes = IntegerField()
    at = FloatField()

    class Meta:
        table_name = "job_bytes"


TABLES = (Job, Worker, Event, Conversion, StoredSetting, Sighting, SubmissionKey, Batch, Preset, Upload, JobBytes)
