"""Stars of a noise-free field keep their places and fluxes when it is warped, whatever the WCS."""

from functools import partial

import numpy as np
import pytest

from psfmatch_cli.config import WarpConfig
from psfmatch_cli.grid import SkyMap
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.warp import warp
from sky_fields import blank, make_exposure, make_wcs

SHAPE = (260, 280)
#: What no star may exceed: pixels, and share of the flux.
MAX_SHIFT, MAX_LOSS = 0.005, 1e-3


def sip(a20, a11, a03):
    """Quadratic and cubic coefficients of both axes."""
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[2, 0], a[1, 1], a[0, 3], b[0, 2], b[1, 1], b[3, 0] = a20, a11, a03, -a20, 0.5 * a11, -a03
    return a, b


# The fields lie off the centre of a camera, where its distortion is strong: with the reference pixel 1500 to 3000 px
# away, the distortion is of tens of pixels and changes the scale over the field.
FAR = {"shift": (-1510.3, 1205.6)}
# As the Advanced Camera for Surveys: 30 px at this distance.
CAMERA_SIP = sip(8e-6, -6e-6, 2e-10)
# As a wide-field imager: linear terms and a cubic one in degrees, 0.5 % of the scale at half a degree.
CAMERA_TPV = [(1, 0, 1e-5), (1, 1, 1.002), (1, 2, 1e-4), (1, 7, 8e-3), (1, 9, 8e-3),
              (2, 0, -2e-5), (2, 1, 0.998), (2, 2, -2e-4), (2, 7, 8e-3), (2, 9, 8e-3)]  # fmt: skip
# As the wide-field cameras of infrared surveys: R = z - 50 z^3.
CAMERA_ZPN = [(2, 1, 1.0), (2, 3, -50.0)]
WIDE = {"shift": (-2500.4, 2000.7)}

#: Template and science WCS. Positions where both agree are those of the centre, off which both are alike.
PAIRS = {
    "shift": ({"shift": (0.37, -0.21)}, {}),
    "half a pixel": ({"shift": (0.5, 0.5)}, {}),
    "rotated by 3 deg": ({"rotation": 3.0}, {}),
    "rotated by 130 deg": ({"rotation": 130.0}, {}),
    "flipped": ({"flip": True, "rotation": 17.0, "shift": (0.3, 0.4)}, {}),
    "finer template": ({"scale": 0.4}, {}),
    "coarser template": ({"scale": 0.6, "rotation": -20.0}, {}),
    "template SIP": ({"sip": CAMERA_SIP, **FAR}, FAR),
    "science SIP": ({"rotation": 1.0, **FAR}, {"sip": CAMERA_SIP, "rotation": 1.0, **FAR}),
    "TPV": ({"pv": CAMERA_TPV, **WIDE}, WIDE),
    "ZPN": ({"kind": "ZPN", "pv": CAMERA_ZPN, **WIDE}, WIDE),
    "ZPN onto TPV": ({"kind": "ZPN", "pv": CAMERA_ZPN, **WIDE}, {"pv": CAMERA_TPV, "scale": 0.49, **WIDE}),
}


def gaussian(dx, dy, inverse):
    """Height 1, from the inverse (2, 2) of the covariance."""
    return np.exp(-0.5 * (inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2))


def moffat(dx, dy, inverse, beta=3.5):
    """Height 1, with the FWHM of the Gaussian of that inverse covariance."""
    square = inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2
    return (1 + (2 ** (1 / beta) - 1) * square / (2 * np.log(2))) ** -beta


def star_grid(spacing, rng):
    """Positions x, y near the knots of a square grid, at all fractions of a pixel."""
    grids = np.meshgrid(*(np.arange(40, size - 40, spacing) for size in SHAPE[::-1]))
    x, y = (g.ravel() + rng.uniform(-0.5, 0.5, g.size) for g in grids)
    return x, y


def window(x, y, half):
    """Pixels (rows, columns) around a position, and their distances from it."""
    rows, columns = np.mgrid[round(y) - half : round(y) + half + 1, round(x) - half : round(x) + half + 1]
    return (rows, columns), columns - x, rows - y


def warped(image, wcs, science, config=None):
    return warp(make_exposure(image, wcs), science, config or WarpConfig()).exposure.image


def measure(fwhm, template_wcs, science_wcs, config=None, *, profile=gaussian, resample=None):
    """Largest shift, pixels, and largest loss of flux of the stars that fall on the science image.

    `fwhm` is that on the coarser of the two grids, so that the stars are no narrower on either.
    """
    template = blank(SHAPE, make_wcs(SHAPE, **template_wcs))
    science = blank(SHAPE, make_wcs(SHAPE, **science_wcs))
    to_science = SkyMap(template.wcs, science.wcs)
    x, y = star_grid(46, np.random.default_rng(5))
    true_x, true_y = to_science(x, y)
    jacobian = to_science.jacobian(x, y)
    middle = np.sqrt(np.abs(np.linalg.det(jacobian[len(x) // 2])))
    sigma = fwhm / FWHM_PER_SIGMA / min(middle, 1.0)
    half = int(np.ceil(4 * fwhm))
    image = np.zeros(SHAPE)
    round_inverse = np.eye(2) / sigma**2
    for star in zip(x, y, strict=True):
        at, dx, dy = window(*star, 22)
        image[at] += profile(dx, dy, round_inverse)
    found = warped(image, template.wcs, science, config) if resample is None else resample(image, template.wcs, science)
    shifts, losses = [], []
    for xs, ys, matrix in zip(true_x, true_y, jacobian, strict=True):
        if not (half + 6 < xs < SHAPE[1] - half - 7 and half + 6 < ys < SHAPE[0] - half - 7):
            continue
        at, dx, dy = window(xs, ys, half)
        inverse = np.linalg.inv(matrix @ matrix.T * sigma**2)
        # Per template pixel that a science pixel covers, so that the counts are the template's.
        stamp = found[at].astype(float) * abs(np.linalg.det(matrix))
        shift, loss = compare(stamp, lambda u, v, i=inverse: profile(u, v, i), dx, dy)
        shifts.append(shift)
        losses.append(loss)
    assert len(shifts) >= 9
    return max(shifts), max(losses)


def compare(stamp, model, dx, dy):
    """Distance of the least-squares position of a star from where it should be, and the error of its counts."""
    step = 1e-3
    slopes = [
        model(dx, dy),
        (model(dx - step, dy) - model(dx + step, dy)) / (2 * step),
        (model(dx, dy - step) - model(dx, dy + step)) / (2 * step),
    ]
    amplitude, along, across = np.linalg.lstsq(np.reshape(slopes, (3, -1)).T, stamp.ravel(), rcond=None)[0]
    return np.hypot(along, across) / amplitude, abs(stamp.sum() / slopes[0].sum() - 1)


@pytest.mark.parametrize(("fwhm", "profile"), [(2.5, gaussian), (2.5, moffat), (5.0, gaussian)])
@pytest.mark.parametrize("name", PAIRS)
def test_stars_keep_place_and_flux(name, fwhm, profile):
    shift, loss = measure(fwhm, *PAIRS[name], profile=profile)
    assert shift < MAX_SHIFT
    assert loss < MAX_LOSS


@pytest.mark.parametrize(("kernel", "name", "fwhm"), [
    # A straight line, and with it a broad star, is moved by up to 0.02, 0.015 and 0.012 px an axis.
    ("lanczos3", "shift", 3.5),
    ("lanczos4", "shift", 5.0),
    # A change of scale lets that shift drift across a star, which stretches it.
    ("lanczos4", "template SIP", 2.5),
    # These fall off too early for the narrow stars.
    ("bicubic", "shift", 5.0),
    ("bilinear", "shift", 3.5),
])  # fmt: skip
def test_the_other_kernels_do_not(kernel, name, fwhm):
    shift, loss = measure(fwhm, *PAIRS[name], WarpConfig(warping_kernel_name=kernel))
    assert shift > MAX_SHIFT or loss > MAX_LOSS


@pytest.mark.parametrize("kernel", ["lanczos3", "lanczos5", "kriging4"])
def test_undersampled_stars_move(kernel):
    """At FWHM 1.5 px the pixels no longer say where a star is: no kernel of this kind does better than 0.1 px."""
    shift, loss = measure(1.5, *PAIRS["shift"], WarpConfig(warping_kernel_name=kernel))
    assert 0.05 < shift < 0.12
    # The sum of the samples of such a star depends by this much on where it lies.
    assert loss < 3e-3


def reprojected(image, wcs, science, order):
    """By reproject, which keeps surface brightness: times the area."""
    from reproject import reproject_interp

    found, _ = reproject_interp((image, wcs), science.wcs, shape_out=SHAPE, order=order, roundtrip_coords=False)
    return found * SkyMap(science.wcs, wcs).area(*np.indices(SHAPE)[::-1])


@pytest.mark.parametrize("name", ["shift", "rotated by 3 deg", "template SIP"])
def test_reproject_agrees_and_places_stars_no_better(name):
    """Its cubic splines move stars some ten times as far as kriging does, its lines some fifty times."""
    ours, _ = measure(2.5, *PAIRS[name])
    for order, least, most in (("bicubic", 3 * ours, MAX_SHIFT), ("bilinear", 0.01, 0.05)):
        theirs, _ = measure(2.5, *PAIRS[name], resample=partial(reprojected, order=order))
        assert least < theirs < most


@pytest.mark.parametrize("name", ["rotated by 130 deg", "ZPN"])
def test_pixels_of_a_smooth_field_are_those_of_reproject(name):
    from scipy.ndimage import gaussian_filter

    field = 1e3 + 1e3 * gaussian_filter(np.random.default_rng(3).normal(size=SHAPE), 4)
    template, science = (make_wcs(SHAPE, **wcs) for wcs in PAIRS[name])
    science = blank(SHAPE, science)
    found, theirs = warped(field, template, science), reprojected(field, template, science, "bicubic")
    # Off the borders, where splines and a finite kernel end differently. The field has an rms of 70 counts, and
    # kriging leaves errors of a thousandth of a star's height at all widths.
    inner = np.s_[40:-40, 40:-40]
    both = np.isfinite(found[inner]) & np.isfinite(theirs[inner])
    assert both.mean() > 0.9
    np.testing.assert_allclose(found[inner][both], theirs[inner][both], atol=0.2)
