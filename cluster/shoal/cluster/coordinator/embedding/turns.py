"""Whose turn it is at an encoder replica. Pure: the waiting is done elsewhere."""

from collections.abc import Sequence


class Suspicion:
    """One batch whose encoder was lost: it must be alone with a replica, or its neighbours would be lost with it."""

    __slots__ = ("replica",)

    def __init__(self) -> None:
        self.replica = ""
        """The replica that is kept free for it; empty while there is none."""


class EncoderTurns:
    """Knows how much is in flight at each replica, over all generations.

    A process that dies takes every call along, so a batch that may be to blame is tried with nothing beside it: else
    innocent documents would be counted as failed with it.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._kept: dict[str, Suspicion] = {}

    def take(self, ready: Sequence[str], suspicion: Suspicion | None = None, size: int = 1) -> str:
        """Begins a call at the least busy of the replicas of a model that are `ready`; empty when it must wait.

        `size`, at least 1, is what the call adds to the replica's work, in any unit that all callers share.

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
        self._sizes[chosen] = self._load(chosen) + size
        return chosen

    @property
    def waited_for(self) -> bool:
        """Whether somebody may be waiting for a call to end."""
        return bool(self._kept)

    def end(self, replica: str, size: int = 1) -> None:
        """Ends a call that was begun with this `size`."""
        self._sizes[replica] -= size
        if not self._sizes[replica]:
            del self._sizes[replica]

    def drop(self, suspicion: Suspicion) -> None:
        """Lets others have the replica that was kept."""
        if suspicion.replica:
            del self._kept[suspicion.replica]
            suspicion.replica = ""

    def _load(self, replica: str) -> int:
        return self._sizes.get(replica, 0)
