"""Where the optional data folder is: PSFMATCH_DATA, else ../shared/data beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data_folder(name: str) -> Path:
    """Folder of one pair; the calling test is skipped, saying so, where it is absent."""
    root = Path(os.environ.get("PSFMATCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / name).is_dir():
        pytest.skip(f"the optional data folder {name!r} is absent; set PSFMATCH_DATA")
    return root / name
