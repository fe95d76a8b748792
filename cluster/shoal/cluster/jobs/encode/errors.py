"""The one way in which a bulk job fails."""


class JobError(Exception):
    """A job cannot be begun or go on; the message is one line and says why. What it has committed stays."""
