"""What holds of any pair: properties checked on small random ones."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from made_pairs import exposure, gaussian_pair, gaussian_stars
from psfmatch_cli.errors import PsfMatchError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.settings import Settings

SHAPE = (140, 150)
FWHMS = (3.3, 4.5)
FEW = settings(
    max_examples=5, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
BASE = Settings()
#: One order and one basis, so that a change of rounding cannot choose another model.
KERNEL = BASE.kernel.model_copy(update={"spatial_kernel_order": 0, "spatial_bg_order": 0, "richer_deg_gauss": []})
FIXED = BASE.model_copy(update={"kernel": KERNEL})
UNUSABLE = ("NO_DATA", "BAD", "SAT", "CR", "EDGE")


@pytest.fixture(scope="module")
def pair():
    """Pair with the sharper template, noise of 1 count."""
    return gaussian_pair((1.4, 1.9), shape=SHAPE, n_stars=5, flux=(4e3, 2e4), xy0=(0, 0))[:2]


def subtracted(template, science, config=FIXED, fwhms=FWHMS):
    """The difference, and the summary."""
    result = ImagePsfMatchTask(config).subtract_exposures(template, science, *fwhms, convolve_template=True)
    return result.subtracted_exposure.masked_image, result.summary


def changed(image, scale=1.0, offset=0.0):
    masked = image.masked_image
    counts = scale * masked.image.astype(float) + offset
    variance = masked.variance * np.float32(scale**2)
    return image.with_pixels(replace(masked, image=counts.astype(np.float32), variance=variance))


def check_sound(difference):
    """A usable pixel has a value and a variance; one without is flagged."""
    flagged = difference.flagged(UNUSABLE)
    assert np.isfinite(difference.image[~flagged]).all()
    assert (difference.variance[~flagged] > 0).all()
    assert np.isfinite(difference.variance[~flagged]).all()


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    seed=st.integers(0, 2**31),
    power=st.sampled_from([-30, -10, 0, 5, 14, 30]),
    kind=st.sampled_from(["noise", "constant", "stars", "spikes", "holes"]),
    bits=st.sampled_from([0, 1, 2, 256, -1]),
)
@settings(parent=FEW, max_examples=25)
def test_any_pair_gives_a_sound_difference_or_one_of_our_errors(height, width, seed, power, kind, bits):
    rng = np.random.default_rng(seed)

    def image():
        counts = rng.normal(size=(height, width))
        counts *= kind != "constant"
        if kind == "stars":
            place = rng.uniform(0, [[width], [height]], (2, 6))
            counts += gaussian_stars((height, width), *place, 5e3, 1.5)
        counts = counts * 10.0**power
        counts[rng.random((height, width)) < 0.02 * (kind == "spikes")] = 3e38
        counts[rng.random((height, width)) < 0.3 * (kind == "holes")] = np.nan
        mask = np.where(rng.random((height, width)) < 0.1, bits, 0)
        with np.errstate(over="ignore", under="ignore"):
            return Exposure(MaskedImage.from_arrays(counts, mask=mask, variance=np.full(counts.shape, 100.0**power)))

    try:
        difference, _ = subtracted(image(), image(), BASE)
    except PsfMatchError:
        return
    check_sound(difference)


@given(exponent=st.floats(-9, 9))
@FEW
def test_a_scale_of_both_images_scales_the_difference(pair, exponent):
    scale = 10.0**exponent
    plain, summary = subtracted(*pair)
    scaled, other = subtracted(*(changed(image, scale) for image in pair))
    use = ~plain.flagged(UNUSABLE)
    assert (use == ~scaled.flagged(UNUSABLE)).all()
    # Single precision of the stars' peaks, some 1e3 counts, is 1e-4 counts.
    np.testing.assert_allclose(scaled.image[use] / scale, plain.image[use], atol=2e-3)
    np.testing.assert_allclose(scaled.variance[use] / scale**2, plain.variance[use], rtol=1e-3)
    assert other["kernel_sum"] == pytest.approx(summary["kernel_sum"], rel=1e-4)


@given(scale=st.floats(1e-6, 1e6))
@FEW
def test_a_scale_of_the_template_goes_into_the_kernel(pair, scale):
    template, science = pair
    plain, summary = subtracted(template, science)
    scaled, other = subtracted(changed(template, scale), science)
    use = ~plain.flagged(UNUSABLE) & ~scaled.flagged(UNUSABLE)
    np.testing.assert_allclose(scaled.image[use], plain.image[use], atol=2e-3)  # as above
    assert other["kernel_sum"] * scale == pytest.approx(summary["kernel_sum"], rel=1e-4)


@given(offset=st.floats(-1e3, 1e3))
@FEW
def test_a_constant_added_to_the_template_leaves_the_difference_the_same(pair, offset):
    template, science = pair
    plain, _ = subtracted(template, science)
    shifted, _ = subtracted(changed(template, offset=offset), science)
    use = ~plain.flagged(UNUSABLE)
    # The offset takes digits: 1000 counts are kept to 6e-5, and the kernel is solved from them.
    np.testing.assert_allclose(shifted.image[use], plain.image[use], atol=2e-2)


@given(value=st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e4, -1e9, 3e38]), seed=st.integers(0, 99))
@FEW
def test_values_of_masked_pixels_do_not_matter(pair, value, seed):
    where = np.zeros(SHAPE, bool)
    y, x = np.random.default_rng(seed).integers(3, 12, 2)
    where[y : y + 3, x : x + 3] = True

    def with_hole(image, filling):
        counts = np.where(where, np.float32(filling), image.image)
        mask = np.where(where, image.masked_image.bits(["NO_DATA"]), 0)
        return image.with_pixels(MaskedImage.from_arrays(counts, mask=mask, variance=image.variance))

    plain, _ = subtracted(*(with_hole(image, 1.0) for image in pair))
    other, _ = subtracted(*(with_hole(image, value) for image in pair))
    use = ~plain.flagged(UNUSABLE)
    assert (use == ~other.flagged(UNUSABLE)).all()
    assert not use[where].any()
    np.testing.assert_allclose(other.image[use], plain.image[use], atol=2e-3)


@given(seed=st.integers(0, 99))
@FEW
def test_transposing_both_images_transposes_the_difference(seed):
    rng = np.random.default_rng(seed)
    x, y = np.array([[45, 105, 50, 100], [45, 50, 95, 100]]) + rng.uniform(-3, 3, (2, 4))
    flux = rng.uniform(5e3, 2e4, 4)
    images = [gaussian_stars((140, 150), x, y, flux, sigma) + rng.normal(size=(140, 150)) for sigma in (1.4, 1.9)]
    plain, _ = subtracted(*(exposure(image, 1.0) for image in images))
    turned, _ = subtracted(*(exposure(image.T, 1.0) for image in images))
    use = ~plain.flagged(UNUSABLE) & ~turned.flagged(UNUSABLE).T
    assert use.any()
    # Centroids, stamps and cells are the same, rounding of the sums is not.
    np.testing.assert_allclose(turned.image.T[use], plain.image[use], atol=5e-2)


@given(seed=st.integers(0, 99), edge=st.integers(1, 30))
@FEW
def test_where_an_input_has_no_data_the_difference_has_none(pair, seed, edge):
    side = np.random.default_rng(seed).integers(4)
    where = np.rot90(np.indices(np.rot90(np.empty(SHAPE), -side).shape)[0] < edge, side)
    template, science = pair
    counts = np.where(where, np.float32(np.nan), template.image)
    lacking = template.with_pixels(MaskedImage.from_arrays(counts, variance=template.variance))
    difference, _ = subtracted(lacking, science)
    assert difference.flagged(UNUSABLE)[where].all()
    check_sound(difference)
