"""Commands that read and write files: add, import, and vector files."""
