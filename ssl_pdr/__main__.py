"""`python -m ssl_pdr`."""

from ssl_pdr.cli import main

main()
