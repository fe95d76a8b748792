"""Tests against a Ray cluster that runs already. A package, since pytest closes package fixtures only at the end of one."""
