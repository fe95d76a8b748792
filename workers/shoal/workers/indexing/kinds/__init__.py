"""Index kinds behind one interface."""
