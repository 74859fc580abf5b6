"""Lists of single sources of every kind, and what is no list of sources."""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import Angle, SkyCoord
from astropy.table import QTable, Table

from made_pairs import exposure
from psfmatch_cli.errors import SourceTypeError, UsageError
from psfmatch_cli.exposure import Box
from psfmatch_cli.source_entries import FOOTPRINT_COLUMNS, Footprint, table_of_entries

PLACES = [(10.25, 20.0), (30.0, 41.5)]


@dataclass
class Pixel:
    x: float
    y: float


class Direction(NamedTuple):
    ra: float
    dec: float


@dataclass
class Both:
    x: float
    y: float
    ra: object
    dec: object


@pytest.mark.parametrize(
    "entries",
    [
        PLACES,
        [list(place) for place in PLACES],
        [np.array(place, np.float32) for place in PLACES],
        [PLACES[0], list(PLACES[1])],
        [Pixel(*place) for place in PLACES],
        [{"x": x, "y": y, "name": "star"} for x, y in PLACES],
        list(Table(np.array(PLACES), names=("x", "y"))),
        [Footprint(Box(int(x), int(y), int(x) + 1, int(y) + 1), (x, y)) for x, y in PLACES],
        [{"source": Pixel(*place)} for place in PLACES],
        [{"source": place, "footprint": Footprint(Box(0, 0, 50, 50))} for place in PLACES],
    ],
    ids=["tuples", "lists", "arrays", "mixed pairs", "objects", "dicts", "rows", "footprints", "sources", "upstream"],
)
def test_positions_in_pixels(entries):
    found = table_of_entries(entries)
    np.testing.assert_array_equal(np.column_stack([found["x"], found["y"]]), PLACES)


def test_positions_on_the_sky():
    places = [Direction(10.0, -5.0), Direction(350.0, 60.0)]
    found = table_of_entries(places)
    assert found.colnames == ["ra", "dec"]
    np.testing.assert_array_equal(found["ra"], [10.0, 350.0])
    coordinates = table_of_entries([SkyCoord(*place, unit="deg") for place in places])
    np.testing.assert_allclose(coordinates["sky"].ra.deg, [10.0, 350.0], rtol=1e-15)


def test_objects_may_have_both_and_angles_have_units():
    entries = [Both(1.0, 2.0, Angle("1h"), 0.1 * units.rad), Both(3.0, 4.0, 30.0 * units.deg, Angle(5.0, "deg"))]
    found = table_of_entries(entries)
    assert found.colnames == ["x", "y", "ra", "dec"]
    np.testing.assert_allclose(found["ra"], [15.0, 30.0], rtol=1e-15)
    np.testing.assert_allclose(found["dec"], [np.rad2deg(0.1), 5.0], rtol=1e-15)


@pytest.mark.parametrize("kind", [Table, QTable])
def test_rows_keep_the_units_of_their_tables(kind):
    angles = [0.1, 0.2] * units.rad
    one, other = kind({"coord_ra": angles, "coord_dec": -angles}), kind({"coord_ra": angles, "coord_dec": angles})
    for rows in (list(one), [one[1], other[0]]):
        found = table_of_entries(rows)
        assert found["coord_ra"].unit == units.rad
    assert np.asarray(found["coord_ra"]).tolist() == [0.2, 0.1]


def test_footprints_bring_their_boxes():
    boxes = [Box(3, 4, 9, 12), Box(0, 0, 1, 1)]
    expected = [[3, 0], [4, 0], [9, 1], [12, 1]]
    alone = table_of_entries([Footprint(box) for box in boxes])
    with_sources = table_of_entries(
        [{"source": p, "footprint": Footprint(b)} for p, b in zip(PLACES, boxes, strict=True)]
    )
    without = table_of_entries([{"footprint": Footprint(box)} for box in boxes])
    for found in (alone, with_sources, without):
        assert [found[name].tolist() for name in FOOTPRINT_COLUMNS] == expected
    assert (alone["x"].tolist(), alone["y"].tolist()) == ([6.0, 0.5], [8.0, 0.5])
    assert with_sources["x"].tolist() == [x for x, _ in PLACES]


def test_cut_outs_are_footprints():
    stamps = [exposure(np.zeros((5, 7)), 1.0, xy0=(x, 20)) for x in (10, 40)]
    for entries in (stamps, [stamp.masked_image for stamp in stamps]):
        found = table_of_entries(entries)
        assert [found[name].tolist() for name in FOOTPRINT_COLUMNS] == [[10, 40], [20, 20], [16, 46], [24, 24]]
        assert found["x"].tolist() == [13.0, 43.0]


@pytest.mark.parametrize(
    ("box", "center", "message"),
    [
        (Box(3, 3, 2, 5), None, "a footprint covers at least one pixel"),
        (Box(3, 3, 5, 5), (2.4, 4.0), r"the centre \(2.4, 4.0\) of a footprint is not in its Box"),
        (Box(3, 3, 5, 5), (np.nan, 4.0), "the centre .* is not in its Box"),
    ],
)
def test_footprints_cover_their_centre(box, center, message):
    with pytest.raises(UsageError, match=message):
        Footprint(box, center)


def test_the_edge_of_the_outer_pixels_belongs_to_a_footprint():
    assert Footprint(Box(3, 3, 5, 5), (2.5, 5.4)).position == (2.5, 5.4)


@pytest.mark.parametrize(
    ("entries", "types"),
    [
        ([(1, 2), Pixel(1, 2)], ("(x, y)", "Pixel")),
        ([Pixel(1, 2), {"x": 1, "y": 2}, Footprint(Box(0, 0, 1, 1))], ("Pixel", "dict", "Footprint")),
        ([(1, 2), (1, 2, 3)], ("(x, y)", "tuple")),
        ([{"source": (1, 2)}, {"source": Pixel(1, 2)}], ("(x, y)", "Pixel")),
        ([Direction(1, 2), (1, 2)], ("Direction", "(x, y)")),
    ],
)
def test_entries_are_of_one_type(entries, types):
    with pytest.raises(SourceTypeError, match=re.escape(f"one type, got {', '.join(types)}")) as caught:
        table_of_entries(entries)
    assert caught.value.types == types
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("entries", "kind"),
    [
        ([1.0, 2.0], "float"),
        (["star"], "str"),
        ([None], "NoneType"),
        ([(1, 2, 3)], "tuple"),
        ([("a", "b")], "tuple"),
        ([{"source": object()}], "object"),
        ([{"source": (1, 2)}, {"x": 1, "y": 2}], "dict"),
        ([{}], "dict"),
        ([Pixel("left", 2)], "Pixel"),
        ([Pixel(None, 2)], "Pixel"),
    ],
)
def test_entries_that_are_no_sources(entries, kind):
    with pytest.raises(SourceTypeError, match=f"of type {kind} ") as caught:
        table_of_entries(entries)
    assert caught.value.types == (kind,)


def test_a_footprint_must_be_one():
    with pytest.raises(SourceTypeError, match='"footprint" of a source must be a Footprint, got Box'):
        table_of_entries([{"source": (1, 2), "footprint": Box(0, 0, 1, 1)}])
