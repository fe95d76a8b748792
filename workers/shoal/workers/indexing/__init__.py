"""Index workers: shards as sealed index, exact delta and tombstones, and the immutable files they are made of.

The names that other packages use; each is imported when it is first used.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
