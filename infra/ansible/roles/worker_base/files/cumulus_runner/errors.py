"""What can go wrong with a job on its worker, in words for a person."""


class RunnerError(Exception):
    """The job cannot be started here."""


class AlreadyStarted(RunnerError):
    """This attempt of the job was started before: nothing is to be done, and nothing is wrong."""


class StageFailed(Exception):
    """A stage of the job failed; the message is for a person."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Stopped(Exception):
    """Somebody asked the job to end."""

    def __init__(self, exit_code: int = 143) -> None:
        super().__init__("stopped")
        self.exit_code = exit_code
