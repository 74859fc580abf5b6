"""JSON that every reader takes: no NaN, no infinities, no half characters."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def to_json(value: Any, **options: Any) -> str:
    """JSON text of plain values, numpy numbers and arrays, paths, sets.

    A number that is not finite is null: JSON has no such numbers. Bytes of a file name that are no UTF-8, which Python
    keeps as lone surrogates, are escapes, so that the text can be encoded and `json.loads` returns the name as it was.

    Parameters
    ----------
    value
        What to write.
    **options
        Of `json.dumps`.

    Raises
    ------
    TypeError
        If something in the value cannot be stored.
    """
    text = json.dumps(_plain(value), allow_nan=False, **options)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy numbers and arrays
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, set | frozenset):
        return sorted(_plain(entry) for entry in value)
    return str(value) if isinstance(value, Path) else value
