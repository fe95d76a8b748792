"""What the command line asks of word vectors and models: `shoal eval` and `shoal similar`."""
