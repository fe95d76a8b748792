"""Tables of word vectors and their file formats, read and written."""
