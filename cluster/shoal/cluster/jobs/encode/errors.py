"""The one way in which a bulk job fails."""


class JobError(Exception):
    """A job cannot be begun or go on; the message is one line and says why. What it has committed stays."""


def one_line(error: BaseException) -> str:
    """What an error says, in one line of bounded length."""
    if isinstance(error, OSError) and error.strerror:
        said = error.strerror
    else:
        said = str(error).strip() or type(error).__name__
    return " ".join(said.split())[:300]
