"""`python -m l2tune`."""

from l2tune.cli import main

main()
