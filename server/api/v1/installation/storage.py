"""The operations on the shared storage."""

import os

from cumulus_client import storage as api
from cumulus_client.operations import Done, Nothing
from server.api.v1.binding import Payload, bound, bound_download
from server.services.principal import Principal
from server.services.services import Services
from server.storage.job_folder.results import content_tag


def _usage(services: Services, who: Principal, _asked: Nothing) -> api.StorageUsage:
    return services.administration.storage().usage(who)


def _plan(services: Services, who: Principal, asked: api.PlanRequest) -> api.CleaningPlan:
    return services.administration.storage().plan(who, is_dry=asked.is_dry)


def _clean(services: Services, who: Principal, asked: api.CleaningRequest) -> api.Cleaned:
    return services.administration.storage().clean(who, asked.plan)


def _trash(services: Services, who: Principal, _asked: Nothing) -> api.TrashList:
    return api.TrashList(entries=services.administration.storage().trash(who))


def _restore(services: Services, who: Principal, asked: api.RestoreRequest) -> Done:
    return Done(message=services.administration.storage().restore(who, asked.name))


def _files(services: Services, who: Principal, asked: api.FilesQuery) -> api.StoredFiles:
    return services.administration.files.listed(who, asked)


def _file(services: Services, who: Principal, asked: api.OneFile) -> Payload:
    file, name = services.administration.files.file(who, asked.path)
    found = os.fstat(file.fileno())
    return Payload(file, found.st_size, name, content_tag(found))


def _remove(services: Services, who: Principal, asked: api.OneFile) -> Done:
    return Done(message=services.administration.files.remove(who, asked.path))


def _quota(services: Services, who: Principal, _asked: Nothing) -> api.Quota:
    return services.administration.files.quota(who)


OPERATIONS = (
    bound(api.USAGE, _usage),
    bound(api.PLAN, _plan),
    bound(api.CLEAN, _clean),
    bound(api.TRASH, _trash),
    bound(api.RESTORE, _restore),
    bound(api.FILES, _files),
    bound(api.REMOVE, _remove),
    bound(api.QUOTA, _quota),
)
DOWNLOADS = (bound_download(api.FILE, _file),)
