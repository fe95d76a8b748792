"""The basis of every worker process: serving, cores, compiled kernels, whole files, locks, errors in one line.

The names that other packages use; each is imported when it is first used.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
