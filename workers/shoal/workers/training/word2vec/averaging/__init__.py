"""How the tables of several workers are merged."""
