"""Which columns are taken for positions, their units and what they count from."""

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table

from psfmatch_cli.errors import UsageError
from psfmatch_cli.source_columns import PIXEL_COLUMNS, SKY_COLUMNS, choose, degrees, find_pixels, find_sky, numbers


def table(*names: str) -> Table:
    return Table({name: [1.0, 2.0] for name in names})


@pytest.mark.parametrize("pair", SKY_COLUMNS)
def test_every_known_sky_pair_is_found(pair):
    found = find_sky(table("flux", *pair))
    assert (found.names, found.is_sky) == (pair, True)


@pytest.mark.parametrize("pair", PIXEL_COLUMNS)
def test_every_known_pixel_pair_is_found(pair):
    found = find_pixels(table("flux", *pair))
    assert (found.names, found.counting) == (pair, PIXEL_COLUMNS[pair])


@pytest.mark.parametrize(
    ("names", "counting"),
    [
        (("X", "Y"), "parent"),
        (("x_image", "y_image"), "fits"),
        (("XWin_Image", "YWin_Image"), "fits"),
        (("XCentroid", "YCentroid"), "array"),
        # The two that differ in case only: of IRAF and of photutils.
        (("XCENTER", "YCENTER"), "fits"),
        (("xcenter", "ycenter"), "array"),
    ],
)
def test_other_letter_case_is_known_where_it_is_not_another_name(names, counting):
    found = find_pixels(table(*names))
    assert (found.names, found.counting) == (names, counting)


def test_the_first_known_pair_is_taken():
    assert find_sky(table("RA", "DEC", "ALPHA_J2000", "DELTA_J2000")).names == ("ALPHA_J2000", "DELTA_J2000")
    assert find_sky(table("RA", "DEC")).names == ("RA", "DEC")
    assert find_pixels(table("X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE")).names == ("XWIN_IMAGE", "YWIN_IMAGE")


def test_half_a_pair_is_no_position():
    assert find_sky(table("ra", "x")) is None
    assert find_pixels(table("ra", "x")) is None


def test_a_column_of_directions_is_sky():
    found = find_sky(Table({"where": SkyCoord([1.0], [2.0], unit="deg")}))
    assert (found.names, found.is_sky) == (("where",), True)


@pytest.mark.parametrize(
    ("names", "origin", "counting"),
    [
        (("x", "y"), None, "parent"),
        (("x", "y"), 0, "parent"),
        (("x", "y"), 1, "fits"),
        (("X_IMAGE", "Y_IMAGE"), None, "fits"),
        (("X_IMAGE", "Y_IMAGE"), 0, "array"),
        (("xcentroid", "ycentroid"), 1, "fits"),
        (("col1", "col2"), None, "parent"),
        (("col1", "col2"), 1, "fits"),
    ],
)
def test_the_origin_is_that_of_the_name_or_given(names, origin, counting):
    assert choose(table(*names, "ra", "dec"), names, origin).counting == counting
    if names[0] != "col1":
        assert find_pixels(table(*names), origin).counting == counting


def test_columns_that_are_named_are_taken():
    given = table("x", "y", "ra", "dec", "lon", "lat")
    given["lon"].unit = given["lat"].unit = "rad"
    assert choose(given, ("x", "y")).counting == "parent"
    assert choose(given, ("ra", "dec")).is_sky
    assert choose(given, ("lon", "lat")).is_sky
    assert str(choose(given, ("lon", "lat"))) == "lon, lat (sky)"
    assert str(choose(given, ("x", "y"), 1)) == "x, y (pixels from 1)"


def test_columns_that_are_named_must_exist():
    with pytest.raises(UsageError, match="there is no column 'X'; the table has x, y"):
        choose(table("x", "y"), ("X", "y"))


def test_an_origin_is_for_pixels():
    with pytest.raises(UsageError, match="an origin is for pixels, and ra, dec are sky positions"):
        choose(table("ra", "dec"), ("ra", "dec"), 1)


@pytest.mark.parametrize("unit", ["deg", "rad", "hourangle", "arcsec"])
def test_angles_are_taken_by_their_unit(unit):
    angle = [10.0, 350.0] * units.deg
    expected = [10.0, 350.0]
    for kind in (Table, QTable):
        given = kind({"coord_ra": angle.to(unit)})
        # Rounding of the conversions.
        np.testing.assert_allclose(degrees(given, "coord_ra"), expected, rtol=1e-14)


def test_angles_without_a_unit_are_degrees_unless_nobody_knows():
    np.testing.assert_array_equal(degrees(table("ra"), "ra"), [1.0, 2.0])
    with pytest.raises(UsageError, match="column 'coord_ra' has no unit, and LSST writes radians as well as degrees"):
        degrees(table("coord_ra"), "coord_ra")


@pytest.mark.parametrize("unit", ["pix", "s"])
def test_other_units_are_no_angles(unit):
    given = table("ra")
    given["ra"].unit = unit
    with pytest.raises(UsageError, match=f"column 'ra' has the unit {unit}, which is no angle"):
        degrees(given, "ra")


def test_missing_values_are_not_a_number():
    given = Table({"x": MaskedColumn([1, 2, 3], mask=[False, True, False])})
    np.testing.assert_array_equal(numbers(given, "x"), [1.0, np.nan, 3.0])
    masked = QTable({"x": MaskedColumn([1.0, 2.0], mask=[False, True], unit="pix")})
    np.testing.assert_array_equal(numbers(masked, "x"), [1.0, np.nan])


@pytest.mark.parametrize("values", [["12:34:56", "1:2:3"], [[1.0, 2.0], [3.0, 4.0]], [True, False]])
def test_what_is_no_number_is_an_error(values):
    with pytest.raises(UsageError, match="column 'ra' holds no plain numbers"):
        degrees(Table({"ra": values}), "ra")
