"""What a client gets for a request that never reaches the application: waitress answers text, the client waits for JSON."""

from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

from server.api.answers import encoded
from server.api.legacy import refusal


class JsonError(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """An answer to a request that is malformed or too large, in the shape of its route."""

    def execute(self) -> None:
        """Send it and close the connection: where the next request would begin is not known."""
        error: Any = self.request.error
        body = encoded(refusal(self.request.path, str(error.body)))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend([("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection on which errors are JSON, too."""

    error_task_class = JsonError
