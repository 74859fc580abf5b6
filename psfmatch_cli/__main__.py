"""``python -m psfmatch_cli`` is ``psfmatch``."""

from psfmatch_cli.cli import main

if __name__ == "__main__":
    main()
