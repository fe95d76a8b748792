"""Which models must be loaded: those of live generations, and those that someone embedded with lately. Pure."""

import hashlib
import re
from collections.abc import Iterable

from shoal.cluster.coordinator.fleet import Member


def encoder_members(model: str, replicas: int) -> list[Member]:
    """The encoder replicas of a model; names are stable, readable and safe for any model string."""
    short = re.sub(r"[^A-Za-z0-9.-]+", "-", model.rstrip("/").rsplit("/", 1)[-1])[:40]
    digest = hashlib.blake2b(model.encode(), digest_size=4).hexdigest()
    return [Member(f"encoder-{short}-{digest}-{number}", "encoder", model) for number in range(replicas)]


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
