"""Word2Vec: from text to a table of word vectors, with one learner or many."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
