"""Models in sentence-transformers and Hugging Face folders."""
