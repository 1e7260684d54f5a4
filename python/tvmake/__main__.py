"""`python -m tvmake`."""

from tvmake.cli import main

if __name__ == "__main__":
    main()
