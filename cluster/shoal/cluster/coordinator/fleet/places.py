"""The places of models: who waits for one, who gives one, and who is refused. Decided in `decisions/processes/places.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from shoal.cluster.coordinator.fleet.supervised_process import SupervisedProcess
from shoal.cluster.decisions.processes.liveness_events import LivenessState
from shoal.cluster.decisions.processes.places import Moves, Tenant, make_room

GRANT_S = 15.0
"""How long a model for which a place was freed may take to be found in it."""
_WITHOUT_PLACE = (LivenessState.WAITING, LivenessState.FAILED)


def tenant(model: str, replicas: Sequence[SupervisedProcess]) -> Tenant:
    """A model with what its replicas say about it; who needs it is added by the caller."""
    present = [one for one in replicas if not one.draining]
    return Tenant(
        model,
        placed=sum(one.state not in _WITHOUT_PLACE for one in present),
        waiting=sum(one.state is LivenessState.WAITING for one in present),
        busy=any(one.load.waiting_texts > 0 for one in present),
        served=any(one.liveness.served for one in present),
    )


class Places:
    """Remembers for whom places were freed. Belongs to the coordinator's event loop."""

    def __init__(self) -> None:
        self._grants: dict[str, float] = {}
        self._worked: dict[str, tuple[int, float]] = {}
        self.refused: dict[str, str] = {}
        """Models for which there is no place, and who holds the places."""

    def note_work(self, models: Iterable[tuple[str, int]], now_s: float) -> None:
        """Takes how many texts the replicas of each model have finished; must be called regularly."""
        before = self._worked
        self._worked = {}
        for model, texts in models:
            known = before.get(model)
            self._worked[model] = known if known is not None and known[0] == texts else (texts, now_s)

    def worked_s(self, model: str) -> float:
        """When the model last finished a text; 0 if it never did."""
        return self._worked.get(model, (0, 0.0))[1]

    def decide(self, tenants: Iterable[Tenant], leaving: int, now_s: float) -> Moves:
        """What to do now; the caller carries it out at once."""
        tenants = list(tenants)
        arrived = {one.model for one in tenants if one.placed and one.served}
        self._grants = {
            model: until_s for model, until_s in self._grants.items() if until_s > now_s and model not in arrived
        }
        known = [replace(one, granted=one.model in self._grants) for one in tenants]
        moves = make_room(known, leaving)
        self._grants.update((claim, now_s + GRANT_S) for claim, _ in moves.evict)
        self.refused = dict(moves.refused)
        return moves
