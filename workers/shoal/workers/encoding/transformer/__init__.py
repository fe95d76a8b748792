"""Transformer models in sentence-transformers and Hugging Face folders."""
