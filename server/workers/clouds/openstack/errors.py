"""What the errors of openstacksdk, keystoneauth and requests mean: the one place where they become our own.

Imports of those packages are in the functions: who gets here has them loaded already.
"""

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from server.errors import CloudError
from server.policy.error_classification import classify
from server.reasons import Reason

if TYPE_CHECKING:
    from openstack.connection import Connection

DETAIL_LIMIT = 400  # characters
_POOL = re.compile(
    r": HTTPS?ConnectionPool\(.{0,300}?(\[Errno -?\d+\] [^'\")]{1,100}|timed out|certificate verify failed)?['\")]*$"
)
REGION_ADVICE = "correct region_name in clouds.yaml, or OS_REGION_NAME"
REGION = f"its catalogue lacks a service, or the region is wrong: {REGION_ADVICE}"
# keystoneauth's word where a region has none of the addresses of a service that the catalogue has under several names.
NO_ENDPOINT = "Programming error choosing an endpoint"
_BY_STATUS = {
    401: (Reason.CLOUD_REFUSED, "it does not accept the credentials (wrong, or expired)"),
    403: (Reason.CLOUD_REFUSED, "the credentials do not allow that: look at the project's roles"),
    429: (Reason.CLOUD_BUSY, "it gets too many requests"),
    500: (Reason.CLOUD_FAILED, "its service failed"),
    502: (Reason.CLOUD_UNREACHABLE, "its service is not there"),
    503: (Reason.CLOUD_BUSY, "its service is not available now"),
    504: (Reason.CLOUD_UNREACHABLE, "its service does not answer"),
}


def cloud_error(problem: Exception, cloud: "Connection | None" = None) -> CloudError:
    """The error that a person and a job's policy can do something with. ``cloud``: the connection on which it came about."""
    reason, text = _meaning(problem)
    if reason is Reason.REGION_UNKNOWN and cloud is not None and (wrong := _wrong_region(cloud)):
        return CloudError(f"the OpenStack cloud: {wrong}", reason)
    return CloudError(f"the OpenStack cloud: {text}: {_detail(problem)}", reason)


def is_of_the_cloud(problem: Exception) -> bool:
    """Whether the error came from talking to the cloud, or from reading how to."""
    from keystoneauth1.exceptions import ClientException
    from openstack.exceptions import SDKException
    from requests import RequestException

    known = isinstance(problem, SDKException | ClientException | RequestException)
    return known or _is_incomplete(problem) or _lacks_endpoint(problem)


def _wrong_region(cloud: "Connection") -> str:
    """What is wrong with the region, "" where the cloud has it; the same whichever service was asked for."""
    wanted = cloud.config.region_name
    with suppress(Exception):  # if asking for the catalogue fails too, the first error is the one to report
        auth: Any = cloud.session.auth
        catalog = auth.get_access(cloud.session).service_catalog.catalog
        there = {str(one.get("region_id") or one.get("region")) for service in catalog for one in service["endpoints"]}
        if wanted and there and wanted not in there:
            return f"the region {wanted} is not in its catalogue ({', '.join(sorted(there))} is): {REGION_ADVICE}"
    return ""


def _is_incomplete(problem: Exception) -> bool:
    """Keystoneauth has no class of its own for the error that a password is missing."""
    return type(problem) is Exception and "is a required attribute" in str(problem)


def _lacks_endpoint(problem: Exception) -> bool:
    return isinstance(problem, ValueError) and NO_ENDPOINT in str(problem)


def _meaning(problem: Exception) -> tuple[Reason | None, str]:
    from keystoneauth1 import exceptions as auth
    from openstack.exceptions import ConfigException, HttpException
    from requests import RequestException

    status = _status(problem)
    if status or isinstance(problem, HttpException):
        return _by_status(status, problem)
    if isinstance(problem, auth.CatalogException) or classify(str(problem)) is Reason.REGION_UNKNOWN:
        return Reason.REGION_UNKNOWN, REGION
    if isinstance(problem, ConfigException | auth.AuthPluginException) or _is_incomplete(problem):
        return Reason.SETUP_INCOMPLETE, "its credentials are not complete: see clouds.yaml, `openstack_cloud` and OS_*"
    if isinstance(problem, auth.ConnectionError | auth.DiscoveryFailure | RequestException):
        return Reason.CLOUD_UNREACHABLE, "it does not answer"
    return classify(str(problem)), "it failed"


def _by_status(status: int, problem: Exception) -> tuple[Reason | None, str]:
    said = classify(_detail(problem))
    if status in (403, 413) and said is Reason.QUOTA_EXCEEDED:
        return said, "the quota is used up"
    if status == 413:  # Cinder's and old services' word for too many requests
        return Reason.CLOUD_BUSY, "it gets too many requests"
    return _BY_STATUS.get(status, (said, f"it answered with {status}"))


def _status(problem: Exception) -> int:
    """The HTTP status; 0 where there was no answer."""
    status = getattr(problem, "http_status", None) or getattr(problem, "status_code", None)
    return int(status) if isinstance(status, int | str) and str(status).isdigit() else 0


def _detail(problem: Exception) -> str:
    """One line. The SDK's own words have the address and the service's answer in them, no credentials."""
    said = getattr(problem, "details", None)
    text = f"{problem}" if not said or str(said) in str(problem) else f"{problem}: {said}"
    return _POOL.sub(lambda found: f" ({found[1]})" if found[1] else "", " ".join(text.split()))[:DETAIL_LIMIT]
