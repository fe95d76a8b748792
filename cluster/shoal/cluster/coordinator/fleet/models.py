"""Which models must be loaded: those of live generations, and those used for embedding lately. Pure."""

import hashlib
import re
from collections.abc import Iterable

from shoal.cluster.coordinator.fleet.fleet import Member

ENCODER_PREFIX = "encoder-"


def encoder_member(model: str, index: int) -> Member:
    """A replica of a model, by its index from 0. Names are stable, readable and safe for any model string."""
    return Member(f"{_stem(model)}{index}", "encoder", model)


def replica_index(member: Member) -> int:
    """The index that `encoder_member` was given."""
    return int(member.name.rpartition("-")[2])


def is_replica_of(name: str, model: str) -> bool:
    """Whether a member of that name is an encoder replica of the model."""
    stem = _stem(model)
    return name.startswith(stem) and name[len(stem) :].isdigit()


def _stem(model: str) -> str:
    short = re.sub(r"[^A-Za-z0-9.-]+", "-", model.rstrip("/").rsplit("/", 1)[-1])[:40]
    digest = hashlib.blake2b(model.encode(), digest_size=4).hexdigest()
    return f"{ENCODER_PREFIX}{short}-{digest}-"


class RetainedModels:
    """Models that are used for embedding, whether or not a collection uses them."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._used: dict[str, float] = {}

    def use(self, model: str, now: float) -> None:
        """Records that the model was used."""
        self._used[model] = now

    def used_s(self, model: str) -> float:
        """When the model was last used; 0 if it never was, or too long ago."""
        return self._used.get(model, 0.0)

    def forget(self, model: str) -> None:
        """Drops a model at once: it cannot be loaded."""
        self._used.pop(model, None)

    def wanted(self, generations: Iterable[str], now: float) -> set[str]:
        """Every model that must be loaded now; `generations` are the models of live generations, "" for none."""
        self._used = {model: used for model, used in self._used.items() if now - used < self._idle_s}
        return {model for model in generations if model} | self._used.keys()
