"""The operations on jobs."""

import json
import os
from typing import BinaryIO, cast

from cumulus_client import jobs as api
from cumulus_client import logs, results, submissions
from cumulus_client.operations import Done
from server.api.v1.binding import Payload, bound, bound_download, rows_alone
from server.db.models import Job
from server.services.principal import Principal
from server.services.services import Services
from server.storage.job_folder.results import content_tag


def _list(services: Services, who: Principal, asked: api.JobsQuery) -> api.JobList:
    return services.lookup.listed(who, asked)


def _get(services: Services, who: Principal, asked: api.OneJob) -> api.JobDetails:
    return services.lookup.details(who, asked.job)


def _stamp(services: Services, asked: api.OneJob) -> object:
    return services.lookup.stamp(asked.job)


def _cancel(services: Services, who: Principal, asked: api.OwnedJob) -> Done:
    return Done(message=services.jobs.cancel(who, asked.job, asked.owner))


def _delete(services: Services, who: Principal, asked: api.OwnedJob) -> Done:
    return Done(message=services.jobs.delete(who, asked.job, asked.owner))


def _log(services: Services, who: Principal, asked: logs.LogQuery) -> logs.LogPart:
    return services.logs.part(who, asked.job, asked.cursor)


def _log_stamp(services: Services, asked: logs.LogQuery) -> object:
    return services.logs.stamp(asked.job)


def _whole_log(services: Services, who: Principal, asked: api.OneJob) -> Payload:
    found = services.logs.whole(who, asked.job)
    return Payload(cast("BinaryIO", found), found.size, f"job-{asked.job}.log")


def _results(services: Services, who: Principal, asked: api.OneJob) -> results.ResultList:
    job, files = services.lookup.results(who, asked.job)
    return results.ResultList.model_construct(state=job.state, message=job.message, warning=job.warning, files=files)


def _result(services: Services, who: Principal, asked: results.OneResult) -> Payload:
    file, name = services.lookup.result(who, asked.job, asked.path)
    found = os.fstat(file.fileno())
    return Payload(file, found.st_size, name, content_tag(found))


def _submit(services: Services, who: Principal, asked: submissions.NewJob) -> submissions.Submitted:
    from server.services.jobs.submission import Submission  # not where jobs are listed: it needs the forms of apps

    request = Submission(
        app=asked.app,
        flavor=asked.flavor or services.settings.default_flavor,
        settings=json.dumps(asked.settings, sort_keys=True),
        description=asked.description,
        start_after="" if asked.start_after is None else str(asked.start_after),
        workflow=asked.workflow,
        complete=asked.complete,
    )
    if asked.idempotency_key:
        return _submitted(*services.jobs.submit_once(who, request, asked.owner, asked.idempotency_key))
    return _submitted(services.jobs.submit(who, request, asked.owner))


def _retry(services: Services, who: Principal, asked: api.OneJob) -> submissions.Submitted:
    return _submitted(services.retries.retry(who, asked.job))


def _rerun(services: Services, who: Principal, asked: submissions.RerunRequest) -> submissions.Submitted:
    return _submitted(services.retries.rerun(who, asked.job, asked.flavor, asked.owner))


def _submitted(job: Job, is_new: bool = True) -> submissions.Submitted:
    return submissions.Submitted(id=job.id, owner=job.owner, folder=job.folder, is_new=is_new)


OPERATIONS = (
    bound(api.LIST, _list, rows_alone),
    bound(submissions.SUBMIT, _submit),
    bound(api.GET, _get, _stamp),
    bound(api.CANCEL, _cancel),
    bound(api.DELETE, _delete),
    bound(submissions.RETRY, _retry),
    bound(submissions.RERUN, _rerun),
    bound(logs.LOG, _log, _log_stamp),
    bound(results.RESULTS, _results),
)
DOWNLOADS = (bound_download(logs.WHOLE_LOG, _whole_log), bound_download(results.RESULT, _result))
