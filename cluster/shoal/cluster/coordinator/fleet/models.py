"""Which models must be loaded: those of live generations, and those that someone embedded with lately. Pure."""

import hashlib
import re
from collections.abc import Iterable

from shoal.cluster.coordinator.fleet.fleet import Member

ENCODER_PREFIX = "encoder-"


def encoder_member(model: str, number: int) -> Member:
    """A replica of a model, by its number from 0; names are stable, readable and safe for any model string."""
    return Member(f"{_stem(model)}{number}", "encoder", model)


def replica_number(member: Member) -> int:
    """The number that `encoder_member` was given."""
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
    """Models that no collection may use but someone embeds with."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._used: dict[str, float] = {}

    def use(self, model: str, now: float) -> None:
        """Notes that the model was asked for."""
        self._used[model] = now

    def forget(self, model: str) -> None:
        """Lets go of a model at once: it cannot be loaded."""
        self._used.pop(model, None)

    def wanted(self, generations: Iterable[str], now: float) -> set[str]:
        """Every model that must be loaded now; `generations` are the models of live generations, "" for none."""
        self._used = {model: used for model, used in self._used.items() if now - used < self._idle_s}
        return {model for model in generations if model} | self._used.keys()
