"""The container rules of task metadata."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psfmatch_cli.metadata import TaskMetadata

scalars = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
names = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
lists = st.lists(st.booleans()) | st.lists(st.integers()) | st.lists(FINITE) | st.lists(st.text())


def test_the_type_of_a_value_decides_its_part_and_takes_the_name_from_the_others():
    made = TaskMetadata({"a": 1})
    assert made.scalars == {"a": 1}
    made["a"] = [1, 2]
    assert (made.scalars, made.arrays) == ({}, {"a": [1, 2]})
    made["a"] = {"b": 2.5}
    assert made.arrays == {}
    assert made.metadata["a"].scalars == {"b": 2.5}
    made["a"] = "text"
    assert (made.metadata, made["a"]) == ({}, "text")


def test_reading_a_list_gives_its_last_element_and_a_scalar_is_a_list_of_one():
    made = TaskMetadata({"list": [1, 2, 3], "scalar": 4})
    assert made["list"] == 3
    assert made.get_array("list") == [1, 2, 3]
    assert made.get_array("scalar") == [4]


def test_an_empty_list_is_allowed_but_has_no_last_element():
    made = TaskMetadata({"empty": []})
    assert "empty" in made
    assert made.get("empty", "nothing") == "nothing"
    with pytest.raises(KeyError, match="empty list"):
        made["empty"]


def test_add_makes_and_extends_lists():
    made = TaskMetadata({"scalar": 1})
    made.add("new", 2.5)
    made.add("scalar", 2)
    made.add("scalar", [3, 4])
    assert made.arrays == {"new": [2.5], "scalar": [1, 2, 3, 4]}
    assert made.scalars == {}


def test_add_refuses_another_type_a_container_and_a_missing_container():
    made = TaskMetadata({"list": [1], "box": {}})
    with pytest.raises(TypeError, match="one type, got int, str"):
        made.add("list", "x")
    assert made.arrays["list"] == [1]
    with pytest.raises(KeyError, match="box"):
        made.add("box", 1)
    with pytest.raises(KeyError, match="missing"):
        made.add("missing.item", 1)


def test_a_path_leads_through_containers_and_assigning_makes_them():
    made = TaskMetadata()
    made["psfMatch:selectDetection.nGrow"] = 4
    made.add("psfMatch:selectDetection.times", 0.5)
    assert made["psfMatch:selectDetection.nGrow"] == 4
    assert made["psfMatch:selectDetection"].arrays == {"times": [0.5]}
    assert "psfMatch:selectDetection.times" in made
    assert "psfMatch:selectDetection.nGrow.deeper" not in made
    del made["psfMatch:selectDetection.nGrow"]
    assert "psfMatch:selectDetection.nGrow" not in made
    with pytest.raises(KeyError, match="nGrow"):
        del made["psfMatch:selectDetection.nGrow"]


def test_numpy_values_become_python_values():
    made = TaskMetadata({"i": np.int64(3), "f": np.float32(0.5), "b": np.bool_(True), "a": np.arange(2.0)})
    assert {name: type(value) for name, value in made.scalars.items()} == {"i": int, "f": float, "b": bool}
    assert made.arrays == {"a": [0.0, 1.0]}


@pytest.mark.parametrize("value", [None, object(), [1, "x"], [[1]], [True, 1], {"item": None}])
def test_values_of_other_types_are_refused(value):
    made = TaskMetadata()
    with pytest.raises(TypeError, match="item"):
        made["item"] = {"item": value}
    assert len(made) == 0


@pytest.mark.parametrize("path", ["", ".a", "a.", "a..b"])
def test_empty_names_are_refused(path):
    with pytest.raises(KeyError, match="at least one character"):
        TaskMetadata()[path] = 1


def test_json_has_null_for_what_is_not_finite_and_null_is_read_as_nan():
    made = TaskMetadata({"nan": math.nan, "inf": [math.inf, 1.0]})
    text = made.to_json()
    assert not any(word in text for word in ("NaN", "Infinity"))
    back = TaskMetadata.from_json(text)
    assert math.isnan(back["nan"])
    assert math.isnan(back.arrays["inf"][0])
    assert math.isinf(made.arrays["inf"][0])
    from_null = TaskMetadata.from_json('{"scalars": {"a": null}, "arrays": {"b": [1.0, null]}, "metadata": {}}')
    assert math.isnan(from_null["a"])
    assert math.isnan(from_null["b"])


@pytest.mark.parametrize("text", ['{"other": {}}', '{"scalars": {"a": 1}, "arrays": {"a": [1]}}'])
def test_json_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="parts"):
        TaskMetadata.from_json(text)


@given(st.dictionaries(names, scalars | lists | st.dictionaries(names, scalars)))
def test_json_returns_what_was_put_in(items):
    made = TaskMetadata(items)
    assert TaskMetadata.from_json(made.to_json()) == made
    assert set(json.loads(made.to_json())) == {"scalars", "arrays", "metadata"}
    assert len(made) == len(items) == len(list(made))


def test_flat_view_has_the_whole_path_of_every_item():
    made = TaskMetadata({"top": 1, "psfMatch": {"sum": 1.5, "orders": [4, 2]}})
    assert made.flat() == {"top": 1, "psfMatch.sum": 1.5, "psfMatch.orders": [4, 2]}
