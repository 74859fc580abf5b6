"""Pixels to the sky and back, in every frame that a WCS may have."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from made_pairs import exposure
from psfmatch_cli.errors import UsageError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.sky_positions import pixels_of, pixels_of_sky, sky_of

X, Y = np.array([510.2, 530.0, 599.9]), np.array([-39.0, 12.5, 40.3])


def image(ctype=("RA---TAN", "DEC--TAN"), crval=(0.0, -30.0), **cards) -> Exposure:
    """Exposure of 100 x 100 pixels from (500, -40) on; right ascension 0 is in its middle."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = list(ctype), list(crval)
    wcs.wcs.crpix, wcs.wcs.cdelt = [50.0, 50.0], [-1e-4, 1e-4]
    for name, value in cards.items():
        setattr(wcs.wcs, name, value)
    wcs.wcs.set()
    return replace(exposure(np.zeros((100, 100)), 1.0, xy0=(500, -40)), wcs=wcs)


@pytest.mark.parametrize(
    "where",
    [
        image(),
        image(radesys="ICRS"),
        image(("DEC--TAN", "RA---TAN"), (-30.0, 0.0)),
        image(("GLON-TAN", "GLAT-TAN"), (10.0, 20.0)),
        image(radesys="FK4", equinox=1950.0),
    ],
    ids=["fk5", "icrs", "swapped axes", "galactic", "b1950"],
)
def test_pixels_come_back_from_the_sky(where):
    ra, dec = sky_of(where, X, Y)
    # The inversion stops at 1e-6 pixels.
    np.testing.assert_allclose(pixels_of(where, ra, dec), [X, Y], atol=1e-6)
    icrs = SkyCoord(ra, dec, unit="deg")
    # What is called ra, dec is in FK5 where the WCS is: it differs from ICRS by less than 0.03 arcsec, 0.09 pixels.
    np.testing.assert_allclose(pixels_of_sky(where, icrs), [X, Y], atol=0.09)


def test_the_first_stored_pixel_is_at_xy0():
    where = image()
    ra, dec = sky_of(where, 500 + 49.0, -40 + 49.0)
    np.testing.assert_allclose([ra, dec], [0.0, -30.0], atol=1e-9)


@pytest.mark.parametrize("frame", ["icrs", "fk5", "fk4", "galactic"])
def test_directions_of_every_frame_find_their_pixels(frame):
    where = image(radesys="ICRS")
    sky = SkyCoord(*sky_of(where, X, Y), unit="deg").transform_to(frame)
    # 1e-4 pixels are 0.04 milliarcsec: B1950 and back is good to that.
    np.testing.assert_allclose(pixels_of_sky(where, sky), [X, Y], atol=1e-4)


@pytest.mark.parametrize("where", [image(), image(("GLON-TAN", "GLAT-TAN"), (10.0, 20.0))])
def test_what_is_no_direction_has_no_pixel(where):
    ra, dec = sky_of(where, X, Y)
    x, y = pixels_of(where, [ra[0], np.nan, 10.0, np.inf, 180.0], [dec[0], -30.0, -999.0, 0.0, 30.0])
    assert np.isfinite(x).tolist() == np.isfinite(y).tolist()
    assert np.isfinite(x[0])
    assert np.isnan(x[1:4]).all()


def test_the_sky_needs_a_wcs():
    bare = replace(image(), wcs=None, name="science.fits")
    with pytest.raises(UsageError, match=r"sky positions only, and science\.fits has no celestial WCS"):
        pixels_of(bare, [1.0], [2.0])
    with pytest.raises(UsageError, match="no celestial WCS"):
        pixels_of_sky(bare, SkyCoord([1.0], [2.0], unit="deg"))


def test_frames_that_cannot_be_related_are_an_error():
    here = SkyCoord([1.0], [2.0], unit="deg", frame="heliocentricmeanecliptic")
    with pytest.raises(UsageError, match="positions of frame heliocentricmeanecliptic cannot be put on"):
        pixels_of_sky(image(), here)
