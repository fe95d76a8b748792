"""The error of a bulk job."""


class JobError(Exception):
    """A job cannot start or continue. The message is one line. What the job has committed stays."""
