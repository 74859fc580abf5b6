"""JSON that every reader takes."""

import json
import math

import numpy as np
import pytest

from psfmatch_cli.strict_json import to_json


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def test_numpy_values_and_paths_are_plain(tmp_path):
    value = {"n": np.int32(3), "x": np.array([1.5, np.inf]), "p": tmp_path, "s": {"b", "a"}, 7: (True, None)}
    expected = {"n": 3, "x": [1.5, None], "p": str(tmp_path), "s": ["a", "b"], "7": [True, None]}
    assert json.loads(to_json(value)) == expected
    with pytest.raises(TypeError, match="not JSON serializable"):
        to_json(object())


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("-inf")])
def test_what_is_not_finite_is_null(number):
    text = to_json({"a": number, "b": [{"c": number}, (number, 1.0)], "d": np.array([[number]])})
    found = json.loads(text, parse_constant=refuse)
    assert found == {"a": None, "b": [{"c": None}, [None, 1.0]], "d": [[None]]}


@pytest.mark.parametrize("ascii_only", [True, False])
def test_names_that_are_no_utf8_survive(ascii_only):
    name = b"caf\xe9 \xc3\xa9.fits".decode("utf-8", "surrogateescape")
    text = to_json({"path": name}, ensure_ascii=ascii_only)
    assert json.loads(text.encode("utf-8"))["path"] == name
