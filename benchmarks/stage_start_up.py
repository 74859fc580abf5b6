"""Time of the start of Python and of the imports, without any work on pixels.

python benchmarks/stage_start_up.py --repeats 10
"""

from __future__ import annotations

import sys
from typing import Any

import stages
import timing

#: What a process does, by what it is called in the table.
COMMANDS: dict[str, list[str]] = {
    "python": [sys.executable, "-c", "pass"],
    "psfmatch --version": timing.program("--version"),
    "psfmatch --help": timing.program("--help"),
    "psfmatch subtract --help": timing.program("subtract", "--help"),
    "psfmatch config show": timing.program("config", "show"),
    "import numpy": [sys.executable, "-c", "import numpy"],
    "import astropy.io.fits": [sys.executable, "-c", "import astropy.io.fits"],
    "import astropy.wcs": [sys.executable, "-c", "import astropy.wcs"],
    "import scipy.ndimage, scipy.linalg": [sys.executable, "-c", "import scipy.ndimage, scipy.linalg"],
    "import the task": [sys.executable, "-c", "import psfmatch_cli.image_psf_match, psfmatch_cli.io"],
}


def main(arguments: list[str] | None = None) -> None:
    """Time the processes and print the table."""
    options = stages.parse(__doc__, arguments)
    unit = timing.unit_seconds()
    rows: list[dict[str, Any]] = [
        {"step": name, **timing.best(options.repeats, lambda words=words: timing.run(words)).row(unit)}
        for name, words in COMMANDS.items()
    ]
    timing.report("Start of Python and imports", rows, unit, options.output)


if __name__ == "__main__":
    main()
