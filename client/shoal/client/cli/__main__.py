"""`python -m shoal.client.cli`, the same as `shoal`."""

from shoal.client.cli.application import main

main(prog_name="shoal")
