"""Tools for one event loop: changes to wait for, signals between parts, background tasks."""
