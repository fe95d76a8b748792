"""From text to word ids: files, tokenizers, vocabulary, phrases."""
