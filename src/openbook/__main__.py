"""`python -m openbook` is the command `openbook`."""

from openbook.cli.main import main

main()
