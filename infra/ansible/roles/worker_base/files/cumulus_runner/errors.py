"""What can go wrong with a job on its worker, in words for a person."""


class RunnerError(Exception):
    """The job cannot be started here."""


class AlreadyStarted(RunnerError):
    """This attempt of the job was started before: nothing is to be done, and nothing is wrong."""


class StageFailed(Exception):
    """A stage of the job failed; the message is for a person. ``stage``: which one, where it is not the one at work."""

    def __init__(self, message: str, exit_code: int = 1, stage: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stage = stage


class Stopped(Exception):
    """Somebody asked the job to end."""

    def __init__(self, exit_code: int = 143) -> None:
        super().__init__("stopped")
        self.exit_code = exit_code
