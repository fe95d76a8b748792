"""Models and the processes that run them: texts in, vectors out.

The names that other packages use; each is imported when it is first used. Tables of word vectors are in `word_vectors`.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
