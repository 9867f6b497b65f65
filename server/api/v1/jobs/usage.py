"""The operations on usage, and its form as CSV."""

import csv
import io

from cumulus_client import usage as api
from server.api.v1.binding import Payload, bound, bound_download
from server.services.principal import Principal
from server.services.services import Services

COLUMNS = ("user", "group", "app", "month", "jobs", "weight_hours", "job_hours", "gb_days")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a spreadsheet takes a text for a formula


def _get(services: Services, who: Principal, asked: api.UsageQuery) -> api.UsageReport:
    return services.usage.report(who, asked)


def _csv(services: Services, who: Principal, asked: api.UsageQuery) -> Payload:
    content = csv_text(services.usage.report(who, asked)).encode()
    return Payload(io.BytesIO(content), len(content), "usage.csv")


def csv_text(usage: api.UsageReport) -> str:
    """A line for each row, below the columns' names."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(row, name)) for name in COLUMNS] for row in usage.rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """A name of somebody else is a text, whatever program opens the file."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


OPERATIONS = (bound(api.GET, _get),)
DOWNLOADS = (bound_download(api.CSV, _csv),)
