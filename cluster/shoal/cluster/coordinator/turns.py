"""Whose turn it is at an encoder replica. Pure: the waiting is done elsewhere."""

from collections.abc import Sequence


class Suspicion:
    """One batch whose encoder was lost: it must be alone with a replica, or its neighbours would be lost with it."""

    __slots__ = ("replica",)

    def __init__(self) -> None:
        self.replica = ""
        """The replica that is kept free for it; empty while there is none."""


class EncoderTurns:
    """Counts calls in flight at each replica, over all generations.

    A process that dies takes every call along, so a batch that may be to blame is tried with nothing beside it: else
    innocent documents would be counted as failed with it.
    """

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}
        self._kept: dict[str, Suspicion] = {}

    def take(self, ready: Sequence[str], suspicion: Suspicion | None = None) -> str:
        """Begins a call at the least busy of the replicas of a model that are `ready`; empty when it must wait.

        Of those only one at a time is kept for a suspicion, so that the others work on.
        """
        if suspicion is None:
            free = [replica for replica in ready if replica not in self._kept]
            if not free:
                return ""
            chosen = min(free, key=self._load)
        else:
            if suspicion.replica not in ready:
                self.drop(suspicion)
                if not ready or any(replica in self._kept for replica in ready):
                    return ""
                suspicion.replica = min(ready, key=self._load)
                self._kept[suspicion.replica] = suspicion
            chosen = suspicion.replica
            if self._load(chosen):
                return ""
        self._calls[chosen] = self._load(chosen) + 1
        return chosen

    @property
    def waited_for(self) -> bool:
        """Whether somebody may be waiting for a call to end."""
        return bool(self._kept)

    def end(self, replica: str) -> None:
        """Ends a call."""
        self._calls[replica] -= 1
        if not self._calls[replica]:
            del self._calls[replica]

    def drop(self, suspicion: Suspicion) -> None:
        """Lets others have the replica that was kept."""
        if suspicion.replica:
            del self._kept[suspicion.replica]
            suspicion.replica = ""

    def _load(self, replica: str) -> int:
        return self._calls.get(replica, 0)
