"""`python -m stablestep`, where the command itself is not on the path."""

from stablestep.cli import main

main()
