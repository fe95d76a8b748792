"""What is raised when a training cannot begin or go on."""

from __future__ import annotations


class TrainingError(Exception):
    """The message is one line and names what is wrong, the value and the limit."""
