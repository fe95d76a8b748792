"""Learners: what trains tables on a device."""
