"""`python -m ptiffserve` is `ptiffserve`."""

from ptiffserve.cli import main

main()
