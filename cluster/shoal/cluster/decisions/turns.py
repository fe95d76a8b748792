"""Which encoder replica takes the next batch, and which batch must wait. Pure: the waiting is done elsewhere."""

from collections.abc import Sequence


class Suspicion:
    """A batch whose encoder was lost. It must run alone on a replica: if it is to blame, it takes no other batch down."""

    __slots__ = ("replica",)

    def __init__(self) -> None:
        self.replica = ""
        """The replica that is reserved for it; empty while none is."""


class Turns:
    """Knows how much is in flight at each replica, over all generations.

    A process that dies fails all its calls. So a batch that may be to blame is retried without any other call beside it:
    otherwise innocent documents would be counted as failed too.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._reserved: dict[str, Suspicion] = {}

    def take(self, ready: Sequence[str], suspicion: Suspicion | None = None, size: int = 1) -> str:
        """Begins a call at the least busy of the replicas of a model that are `ready`; empty when it must wait.

        `size`, at least 1, is what the call adds to the replica's work, in any unit that all callers share. At most one of
        the replicas is reserved for a suspicion at a time, so that the others go on working.
        """
        if suspicion is None:
            free = [replica for replica in ready if replica not in self._reserved]
            if not free:
                return ""
            chosen = min(free, key=self._load)
        else:
            if suspicion.replica not in ready:
                self.drop(suspicion)
                if not ready or any(replica in self._reserved for replica in ready):
                    return ""
                suspicion.replica = min(ready, key=self._load)
                self._reserved[suspicion.replica] = suspicion
            chosen = suspicion.replica
            if self._load(chosen):
                return ""
        self._sizes[chosen] = self._load(chosen) + size
        return chosen

    @property
    def waited_for(self) -> bool:
        """Whether a batch may be waiting for a call to end."""
        return bool(self._reserved)

    def end(self, replica: str, size: int = 1) -> None:
        """Ends a call that was begun with this `size`."""
        self._sizes[replica] -= size
        if not self._sizes[replica]:
            del self._sizes[replica]

    def drop(self, suspicion: Suspicion) -> None:
        """Gives the reserved replica back to the others."""
        if suspicion.replica:
            del self._reserved[suspicion.replica]
            suspicion.replica = ""

    def _load(self, replica: str) -> int:
        return self._sizes.get(replica, 0)
