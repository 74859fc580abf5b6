"""Every form of a list of sources becomes positions on the science image."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table

from made_pairs import exposure, gaussian_stars
from psfmatch_cli.candidates import select_candidates
from psfmatch_cli.config import CandidateConfig, KernelConfig
from psfmatch_cli.errors import EmptySourceListError, NoCandidatesError, SourceTypeError, UsageError
from psfmatch_cli.exposure import Box, Exposure
from psfmatch_cli.sky_positions import sky_of
from psfmatch_cli.source_entries import FOOTPRINT_COLUMNS, Footprint
from psfmatch_cli.source_list import SourceList, source_table
from sky_fields import make_wcs

SHAPE, XY0 = (80, 100), (500, -40)
X, Y = np.array([520.25, 560.0, 590.75]), np.array([-20.5, 0.0, 30.25])


@pytest.fixture(scope="module")
def science() -> Exposure:
    """Distorted by some pixels at the corners; right ascension 0 is in the middle."""
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    a[2, 0], b[1, 1] = 1e-3, -1e-3
    return replace(exposure(np.zeros(SHAPE), 1.0, xy0=XY0), wcs=make_wcs(SHAPE, center=(0.0, 20.0), sip=(a, b)))


@pytest.fixture(scope="module")
def sky(science) -> tuple[np.ndarray, np.ndarray]:
    return sky_of(science, X, Y)


def assert_positions(found: Table, tolerance: float = 1e-6) -> None:
    """The inversion of the distortion stops at 1e-6 pixels."""
    np.testing.assert_allclose([found["x"], found["y"]], [X, Y], rtol=0, atol=tolerance)


def test_forms_of_a_list_in_pixels(science):
    pairs = np.column_stack([X, Y])
    forms = [
        Table({"x": X, "y": Y}),
        QTable({"x": X * units.pix, "y": Y * units.pix}),
        {"x": X, "y": Y},
        pairs,
        pairs.astype(np.float32),
        np.rec.fromarrays([X, Y], names="x,y"),
        list(zip(X, Y, strict=True)),
        iter(pairs),
        Table({"xcentroid": X - XY0[0], "ycentroid": Y - XY0[1]}),
        Table({"X_IMAGE": X - XY0[0] + 1, "Y_IMAGE": Y - XY0[1] + 1}),
        SourceList(Table({"x": X - XY0[0] + 1, "y": Y - XY0[1] + 1}), origin=1),
        SourceList(Table({"X_IMAGE": X - XY0[0], "Y_IMAGE": Y - XY0[1]}), origin=0),
        SourceList(Table({"a": X, "b": Y, "ra": X, "dec": Y}), columns=("a", "b")),
    ]
    for form in forms:
        found = source_table(form, science)
        assert_positions(found, 0.0)
        assert found["source_id"].tolist() == [1, 2, 3]
        # What had no sky positions gets them.
        np.testing.assert_allclose([found["ra"], found["dec"]], sky_of(science, X, Y), rtol=1e-14)


def test_forms_of_a_list_on_the_sky(science, sky):
    ra, dec = sky
    icrs = SkyCoord(ra, dec, unit="deg")
    forms = [
        Table({"ra": ra, "dec": dec}),
        QTable({"RA": ra * units.deg, "DEC": dec * units.deg}),
        Table(
            {"coord_ra": np.deg2rad(ra), "coord_dec": np.deg2rad(dec)}, units={"coord_ra": "rad", "coord_dec": "rad"}
        ),
        icrs,
        icrs.galactic,
        list(icrs),
        QTable({"sky": icrs}),
        SourceList(Table({"lon": ra, "lat": dec, "x": X, "y": Y}, units={"lon": "deg", "lat": "deg"}), ("lon", "lat")),
    ]
    for form in forms:
        found = source_table(form, science)
        assert_positions(found)
        np.testing.assert_allclose(found["dec"], dec, rtol=1e-12)
        assert "through the science WCS" in found.meta["positions"]


def test_one_direction_is_a_list(science, sky):
    found = source_table(SkyCoord(sky[0][1], sky[1][1], unit="deg"), science)
    assert (len(found), found["source_id"][0]) == (1, 1)
    np.testing.assert_allclose([found["x"][0], found["y"][0]], [X[1], Y[1]], atol=1e-6)


def test_sky_comes_first_so_that_a_list_of_another_grid_works(science, sky, caplog):
    elsewhere = Table({"x": X + 7.0, "y": Y, "ra": sky[0], "dec": sky[1]})
    with caplog.at_level(logging.INFO):
        found = source_table(SourceList(elsewhere, name="list.fits"), science)
    assert_positions(found)
    assert found.meta["positions"] == "ra, dec (sky) through the science WCS"
    assert "ra, dec (sky) are used; x, y (pixels from 0), not used, are 7 px from them (median)" in caplog.text
    assert "list.fits: 3 positions from ra, dec (sky) through the science WCS" in caplog.text


def test_the_given_degrees_are_kept_as_they_are(science, sky):
    found = source_table(Table({"ra": sky[0], "dec": sky[1]}), science)
    np.testing.assert_array_equal(found["ra"], sky[0])
    np.testing.assert_array_equal(found["dec"], sky[1])


def test_pixels_are_used_where_the_science_image_has_no_sky(science, sky):
    both = Table({"x": X, "y": Y, "ra": sky[0], "dec": sky[1]})
    found = source_table(both, replace(science, wcs=None))
    assert_positions(found, 0.0)
    assert found.colnames == ["source_id", "x", "y"]
    assert found.meta["positions"] == "x, y (pixels from 0)"


def test_sky_positions_need_a_wcs(science):
    with pytest.raises(UsageError, match=r"list\.csv: the sources have sky positions only, and .* no celestial WCS"):
        source_table(SourceList(Table({"ra": [1.0], "dec": [2.0]}), name="list.csv"), replace(science, wcs=None))


def test_a_table_needs_positions(science):
    with pytest.raises(UsageError, match=r"needs the columns x and y.*\(--sources-columns\) among id, flux"):
        source_table(Table({"id": [1], "flux": [2.0]}), science)


def test_an_origin_that_would_do_nothing_is_an_error(science, sky):
    both = Table({"x": X, "y": Y, "ra": sky[0], "dec": sky[1]})
    with pytest.raises(UsageError, match=r"an origin is for pixels, but the positions are ra, dec \(sky\)"):
        source_table(SourceList(both, origin=1), science)


def test_missing_positions_are_not_numbers(science):
    given = Table({"x": MaskedColumn(X, mask=[True, False, False]), "y": Y})
    found = source_table(given, science)
    assert np.isnan(found["x"]).tolist() == [True, False, False]
    assert np.isnan(found["ra"]).tolist() == [True, False, False]


@pytest.mark.parametrize("name", ["source_id", "id", "NUMBER", "label"])
def test_ids_are_those_of_the_list(science, name):
    found = source_table(Table({"x": X, "y": Y, name: [7, 5, 6]}), science)
    assert found["source_id"].tolist() == [7, 5, 6]
    assert source_table(Table({"x": X, "y": Y, name: ["a", "b", "c"]}), science)["source_id"].tolist() == [
        "a",
        "b",
        "c",
    ]


def test_ids_that_are_no_names_are_numbered(science):
    assert source_table(Table({"x": X, "y": Y, "id": [0.5, 1.5, 2.5]}), science)["source_id"].tolist() == [1, 2, 3]


def test_fluxes_and_footprints_are_handed_on(science):
    flux = MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False])
    given = Table({"x": X, "y": Y, "psf_flux": flux, "psf_flux_err": [0.1] * 3, "mag": [1.0] * 3})
    found = source_table(given, science)
    assert "mag" not in found.colnames
    np.testing.assert_array_equal(found["psf_flux"], [1.0, np.nan, 3.0])
    boxed = source_table([Footprint(Box(520, -10, 530, 0))], science)
    assert [int(boxed[name][0]) for name in FOOTPRINT_COLUMNS] == [520, -10, 530, 0]


@pytest.mark.parametrize(
    "empty",
    [[], (), Table(), Table({"x": [], "y": []}), np.zeros((0, 2)), np.array([]), {}, SourceList(Table())],
    ids=lambda value: type(value).__name__,
)
def test_an_empty_list_is_an_error(science, empty):
    with pytest.raises(EmptySourceListError, match="the source list is empty") as caught:
        source_table(empty, science)
    assert isinstance(caught.value, NoCandidatesError)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("wrong", ["sources.fits", b"x", 3.0, None, object()])
def test_what_is_no_list_is_an_error(science, wrong):
    with pytest.raises(SourceTypeError, match=f"a table or a list of sources, got {type(wrong).__name__};"):
        source_table(wrong, science)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 3)), np.zeros(2), np.zeros((2, 2, 2)), np.array([["a", "b"]]), np.zeros((3, 2)) * units.deg]
)
def test_arrays_of_another_form_are_an_error(science, array):
    with pytest.raises(SourceTypeError, match=r"plain numbers \(x, y\) in the shape \(n, 2\), got .* of shape"):
        source_table(array, science)


def regions(*rows) -> Table:
    return Table(rows=rows, names=("ds9_system", "ds9_first", "ds9_second"))


def test_regions_say_themselves_how_they_count(science, sky):
    icrs = SkyCoord(*sky, unit="deg")
    given = regions(
        ("image", X[0] - XY0[0] + 1, Y[0] - XY0[1] + 1),
        ("galactic", icrs.galactic.l.deg[1], icrs.galactic.b.deg[1]),
        ("fk5", icrs.fk5.ra.deg[2], icrs.fk5.dec.deg[2]),
    )
    found = source_table(given, science)
    assert_positions(found)
    assert found.meta["positions"] == "DS9 regions (image, galactic, fk5)"
    with pytest.raises(UsageError, match="regions say themselves how they count"):
        source_table(SourceList(given, origin=1), science)


def test_physical_pixels_follow_the_header(science):
    image = (X - XY0[0] + 1, Y - XY0[1] + 1)
    plain = regions(*(("physical", x, y) for x, y in zip(*image, strict=True)))
    assert_positions(source_table(plain, science), 0.0)
    # image = LTM physical + LTV, as IRAF defines them.
    header = fits.Header({"LTV1": -500.0, "LTV2": 40.0, "LTM1_1": 0.5, "LTM2_2": 2.0})
    physical = ((image[0] + 500.0) / 0.5, (image[1] - 40.0) / 2.0)
    scaled = regions(*(("physical", x, y) for x, y in zip(*physical, strict=True)))
    assert_positions(source_table(scaled, replace(science, header=header)), 1e-12)


@pytest.fixture(scope="module")
def candidates(science):
    """Candidates of three stars, one of which is refused, and the images."""
    stars = gaussian_stars(SHAPE, X[1:], Y[1:], 2e4, 1.8, XY0)
    pair = [exposure(stars, 25.0, xy0=XY0, name=name) for name in ("template", "science")]
    pair[1] = replace(pair[1], wcs=science.wcs)
    found = source_table(Table({"x": X, "y": Y, "id": [11, 12, 13]}), pair[1])
    made = select_candidates(found, *pair, CandidateConfig(), KernelConfig(), kernel_size=7, n_parameters=4)
    assert made.table["reason"].tolist() == ["in-one-image", "", ""]
    return made, pair[1]


def test_candidates_are_found_where_they_were_either_way(candidates):
    made, where = candidates
    for given in (made, made.table, SourceList(made.table, columns=("x", "y")), SourceList(made.table, ("ra", "dec"))):
        found = source_table(given, where)
        assert found["source_id"].tolist() == [12, 13]
        np.testing.assert_allclose([found["x"], found["y"]], [X[1:], Y[1:]], rtol=0, atol=1e-6)


def test_a_table_of_refused_candidates_alone_is_an_error(candidates):
    made, where = candidates
    with pytest.raises(EmptySourceListError, match="the source list: all 1 sources were refused as candidates before"):
        source_table(made.table[:1], where)
