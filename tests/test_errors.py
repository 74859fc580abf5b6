"""Every failure has a type, an exit status and a message of its own."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

import psfmatch_cli
from made_pairs import exposure, gaussian_pair, known_kernel, make_pair, small_basis, star_grid
from psfmatch_cli import errors
from psfmatch_cli.candidates import select_candidates
from psfmatch_cli.config import CandidateConfig, KernelConfig, WarpConfig
from psfmatch_cli.convolve import convolve
from psfmatch_cli.detect import detect
from psfmatch_cli.exposure import Box
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.kernel import BackgroundModel, SpatialModel
from psfmatch_cli.kernel_sums import kernel_sum_range
from psfmatch_cli.match import match
from psfmatch_cli.pool import CandidatePool
from psfmatch_cli.psf import FWHM_PER_SIGMA, gaussian_psf
from psfmatch_cli.settings import Settings
from psfmatch_cli.solve import solve_symmetric
from psfmatch_cli.spatial import SpatialLayout, SpatialSystem, solve_spatial
from psfmatch_cli.subtract import subtract

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PsfMatchError)]
STATUS = {errors.InputError: 1, errors.OutputError: 1, errors.UsageError: 2, errors.NoCandidatesError: 3}
FWHMS = 2.0 * FWHM_PER_SIGMA, 2.4 * FWHM_PER_SIGMA
SHAPE = (256, 256)


@pytest.fixture(scope="module")
def pair():
    """Template, science image and twenty bright stars."""
    return gaussian_pair((2.0, 2.4), flux=(2e3, 2e4))


@pytest.fixture(scope="module")
def grid():
    """Pair with stars on a grid and a known kernel."""
    return make_pair(known_kernel(0, SHAPE), star_grid(SHAPE), noise=5.0)


def wcs_at(ra: float, x: float = 128.0) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [ra, 10.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [x, 128.0], [-1e-4, 1e-4]
    return wcs


def subtracted(pair, sources=None, fwhms=FWHMS, **options):
    config = Settings(**options.pop("settings", {}))
    return ImagePsfMatchTask(config).subtract_exposures(*pair[:2], *fwhms, sources, **options)


def pool_of(pair, rows=None, **config) -> CandidatePool:
    basis, kernel = small_basis(), KernelConfig(**config)
    sources = pair.sources if rows is None else pair.sources[rows]
    candidates = select_candidates(
        sources, pair.template, pair.science, CandidateConfig(), kernel, kernel_size=basis.size, n_parameters=10
    )
    return CandidatePool(candidates, pair.template, pair.science, basis, kernel, True, (0.0, 0.0))


# The types


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_is_public_and_has_the_status_of_its_kind(kind):
    assert getattr(psfmatch_cli, kind.__name__) is kind
    assert kind.__name__ in psfmatch_cli.__all__
    expected = next((status for parent, status in STATUS.items() if issubclass(kind, parent)), None)
    if issubclass(kind, errors.FitError):
        expected = 3
    assert kind.exit_code == (1 if kind is errors.PsfMatchError else expected)
    assert kind.__doc__


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_stands_in_the_table_of_the_module(kind):
    assert kind.__name__ in errors.__doc__ or kind is errors.PsfMatchError


def test_advice_is_added_to_the_same_error():
    error = errors.AllRefusedError("none of 3", {"faint": 3})
    made = error.advised("try more")
    assert (type(made), str(made), made.counts) == (errors.AllRefusedError, "none of 3; try more", {"faint": 3})
    assert str(error) == "none of 3"
    assert str(error.advised("")) == "none of 3"


# Registration and inputs


def test_no_overlap(pair):
    template, science, _ = pair
    apart = replace(template, wcs=wcs_at(0.0)), replace(science, wcs=wcs_at(1.0))
    with pytest.raises(errors.NoOverlapError, match="do not overlap on the sky"):
        subtracted(apart)


def test_an_overlap_across_the_origin_of_right_ascension_is_found(pair):
    template, science, stars = pair
    # The same sky, written as 360 and as 0 degrees: as plain numbers the corners are a whole sky apart.
    same = replace(template, wcs=wcs_at(360.0)), replace(science, wcs=wcs_at(0.0))
    assert not subtracted(same, stars).summary["warped"]


def test_different_grids_without_warping(pair):
    template, science, _ = pair
    moved = replace(template, wcs=wcs_at(0.0, 131.0)), replace(science, wcs=wcs_at(0.0))
    with pytest.raises(errors.DifferentGridsError, match=r"\(offset up to 3 px, .*warping is off; allow it \(--warp\)"):
        subtracted(moved, do_warping=False)


def test_boxes_that_differ(pair):
    template, science, stars = pair
    moved = template.with_pixels(replace(template.masked_image, xy0=(0, 0)))
    cut = template.with_pixels(template.masked_image.cutout(Box(12345, 67890, 12600, 68000)))
    with pytest.raises(errors.BoxMismatchError, match="no celestial WCS in template and science"):
        # Left to itself the registration would align them by their stars.
        subtracted((cut, science), settings={"warp": WarpConfig(registration="wcs")})
    for other in (moved, cut):
        with pytest.raises(errors.BoxMismatchError, match="they must be equal"):
            ImagePsfMatchTask().match_masked_images(other.masked_image, science.masked_image, stars)
        with pytest.raises(errors.BoxMismatchError, match="are not on one pixel grid"):
            ImagePsfMatchTask().make_candidate_list(other, science, 21, stars)
        with pytest.raises(errors.BoxMismatchError, match="cannot subtract: the target covers"):
            subtract(science.masked_image, other.masked_image, BackgroundModel.zero(science.box))


def test_an_image_smaller_than_the_kernel(pair):
    template, science, stars = pair
    strip = Box(12345, 67890, 12600, 67910)
    thin = [image.with_pixels(image.masked_image.cutout(strip)) for image in (template, science)]
    with pytest.raises(errors.ImageTooSmallError, match=r"the images, 256 x 21 pixels, are smaller than the kernel, 3"):
        subtracted(thin, stars)
    with pytest.raises(errors.ImageTooSmallError, match="the image, 256 x 11 pixels, is smaller than the kernel, 15"):
        convolve(exposure(np.ones((11, 256)), 1.0).masked_image, known_kernel(0, (11, 256)))


def test_a_psf_that_is_needed_and_not_there():
    empty = exposure(np.random.default_rng(1).normal(size=(200, 200)), 1.0, name="empty.fits")
    with pytest.raises(errors.MissingPsfError, match=r"empty.fits: no PSF is known .* give its width \(--psf-fwhm"):
        detect(empty)


@pytest.mark.parametrize(
    ("fwhms", "text"),
    [
        (
            (-1.0, 0.0),
            "the FWHM of the template image and the science image must be numbers of pixels from 0.5 to 100, got -1.0",
        ),
        (
            (0.0, 3.0),
            "the FWHM of the template image must be a number of pixels from 0.5 to 100, got 0.0; leave it out",
        ),
        ((3.0, float("nan")), "the FWHM of the science image must be a number of pixels from 0.5 to 100, got nan"),
    ],
)
def test_fwhms_that_are_no_widths(pair, fwhms, text):
    with pytest.raises(errors.FwhmError, match=text) as caught:
        subtracted(pair, pair[2], fwhms)
    assert caught.value.exit_code == 2
    with pytest.raises(errors.FwhmError, match=r"must be .* of pixels from 0\.5 to 100"):
        ImagePsfMatchTask().make_kernel_basis_list(*fwhms)


# Candidates: the counts say how many were tried, and how many fell to each reason.


def test_an_empty_list(pair):
    with pytest.raises(errors.EmptySourceListError, match="the source list is empty") as caught:
        subtracted(pair, Table({"x": [], "y": []}))
    assert caught.value.counts == {"sources": 0, "candidates": 0}
    for sources, said in ((None, "needs a list of sources, got none"), (Table({"x": [], "y": []}), "list is empty")):
        with pytest.raises(errors.EmptySourceListError, match=said):
            ImagePsfMatchTask().match_masked_images(pair[0].masked_image, pair[1].masked_image, sources)


def test_no_source_detected():
    rng = np.random.default_rng(1)
    empty = [exposure(rng.normal(size=(200, 200)), 1.0, name=f"{role}.fits") for role in ("template", "science")]
    with pytest.raises(
        errors.NoSourcesError, match=r"no source was detected on science.fits at a threshold of 5 \(auto"
    ):
        subtracted(empty)
    known = [replace(image, psf=gaussian_psf(5.0)) for image in empty]
    with pytest.raises(errors.NoSourcesError, match=r"at a threshold of 10 \(auto\)") as caught:
        ImagePsfMatchTask().make_candidate_list(*known, 21)
    assert caught.value.counts == {"sources": 0, "candidates": 0}


def test_all_refused(pair):
    template, science, stars = pair
    mask = science.mask.copy()
    mask[:] = science.masked_image.bits(["SAT"])
    saturated = science.with_pixels(replace(science.masked_image, mask=mask))
    sources = stars.copy()
    sources.add_row((0.0, 0.0, 1.0))
    with pytest.raises(errors.AllRefusedError, match=r"none of 21 sources can be .*\(refused: 1 outside, ") as caught:
        subtracted((template, saturated), sources)
    counts = caught.value.counts
    assert (counts["sources"], counts["candidates"], counts["outside"]) == (21, 0, 1)
    assert sum(counts.values()) == 2 * 21


def test_nobody_in_any_cell(grid):
    pool = pool_of(grid)
    table = pool.candidates.table.copy()
    table["status"], table["reason"] = "refused", "faint"
    empty = replace(pool.candidates, table=table)
    nobody = CandidatePool(empty, grid.template, grid.science, pool.basis, pool.config, True, (0.0, 0.0))
    with pytest.raises(errors.NobodyTookPartError, match="no kernel candidate in any cell: nobody took part") as caught:
        match(nobody, 0, 0)
    assert caught.value.counts == {"sources": 25, "candidates": 0, "faint": 25}


def test_every_candidate_fails_its_own_fit(grid):
    with pytest.raises(errors.SingleFitsFailedError, match=r"all 25 kernel .* rejected \(25 single-fit\)") as caught:
        match(pool_of(grid, candidate_residual_std_max=0.5), 0, 0)
    assert isinstance(caught.value, errors.AllRejectedError)
    assert caught.value.counts == {"sources": 25, "candidates": 25, "single-fit": 25}


def test_every_candidate_is_rejected_by_the_spatial_model(grid):
    # Rounds are enough to reject all: three candidates, one a cell, without clipping before.
    unclipped = {"single_kernel_clipping": False, "kernel_sum_clipping": False}
    with pytest.raises(
        errors.AllRejectedError, match=r"all 4 kernel candidates were rejected \(4 spatial-fit\)"
    ) as caught:
        match(pool_of(grid, rows=[6, 8, 16, 18], candidate_residual_std_max=0.5, **unclipped), 0, 0)
    assert type(caught.value) is errors.AllRejectedError
    assert caught.value.counts["spatial-fit"] == 4


def test_stars_of_another_field(grid):
    # Each star of the science image has another flux: whatever kernel fits one does not fit the others.
    image = grid.science.image.copy()
    factors = np.exp(np.random.default_rng(1).normal(size=len(grid.sources)))
    for (x, y, _), factor in zip(grid.sources, factors, strict=True):
        at = np.s_[int(y) - 15 : int(y) + 16, int(x) - 15 : int(x) + 16]
        image[at] *= factor
    science = grid.science.with_pixels(replace(grid.science.masked_image, image=image))
    with pytest.raises(errors.DisagreementError, match=r"only \d of 25 kernel candidates agree on a kernel") as caught:
        match(pool_of(replace(grid, science=science), n_star_per_cell=0), 0, None)
    assert caught.value.counts["sources"] == 25


# The fit


def test_kernel_sums_that_cannot_be_computed():
    for wrong in (np.nan, np.inf):
        with pytest.raises(errors.KernelSumError, match="1 of 3 kernel sums are not finite"):
            kernel_sum_range(np.array([1.0, wrong, 1.1]), np.array([0.1, 0.1, 0.1]))


def test_a_kernel_sum_that_is_not_positive(grid):
    negative = grid.science.with_pixels(replace(grid.science.masked_image, image=-grid.science.image))
    with pytest.raises(errors.KernelSumError, match=r"the kernel sum is -1.2.*but a flux ratio is positive"):
        match(pool_of_any(replace(grid, science=negative)), 0, 0)


def pool_of_any(pair) -> CandidatePool:
    """Pool of a pair whose science image has nothing positive: the candidates are those of the template."""
    pool = pool_of(replace(pair, science=pair.template))
    return CandidatePool(pool.candidates, pair.template, pair.science, pool.basis, pool.config, True, (0.0, 0.0))


def test_a_singular_system():
    with pytest.raises(errors.SingularSystemError, match="no positive eigenvalue"):
        solve_symmetric(np.zeros((3, 3)), np.ones(3))


def layout(n: int) -> SpatialLayout:
    return SpatialLayout(n, True, SpatialModel("chebyshev1", 0, Box(0, 0, 9, 9)), None)


def test_equations_and_solutions_that_are_not_finite():
    with pytest.raises(errors.NotFiniteError, match="the normal equations hold values that are not finite"):
        solve_symmetric(np.diag([1.0, np.nan]), np.ones(2))
    # A parameter beyond the largest number: 1e300 over 1e-300.
    system = SpatialSystem(np.diag([1.0, 1e-300]), np.array([1.0, 1e300]), np.zeros((2, 2)))
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            errors.NotFiniteError, match=r"not finite: parameter \d of 2, solver \w+, condition number 1e\+300"
        ),
    ):
        solve_spatial(system, layout(2))
