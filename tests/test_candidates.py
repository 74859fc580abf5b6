"""Which sources become candidates, why others do not, and the stamps that are cut."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

from made_pairs import exposure, gaussian_stars
from psfmatch_cli.candidates import REASONS, CandidateSet, cell_sizes, select_candidates, total_snr
from psfmatch_cli.config import CandidateConfig, KernelConfig
from psfmatch_cli.cutouts import cut_stamps
from psfmatch_cli.errors import InputError, NoCandidatesError, UsageError
from psfmatch_cli.exposure import Box, Exposure

SHAPE, KERNEL_SIZE, HALF = (200, 240), 15, 15
#: Half side of the square that must be clean: the kernel's half side and the core.
REACH = KERNEL_SIZE // 2 + 4
STARS = [(60.2, 50.4), (150.0, 60.0), (60.0, 140.0), (180.0, 150.0)]


def images(stars=STARS, *, flux=2e4, xy0=(0, 0)) -> tuple[Exposure, Exposure]:
    """Template and science image of the same stars, variance 25; noise, for the medians."""
    x, y = np.array(stars, float).T
    made = []
    for seed, name in ((1, "template"), (2, "science")):
        noise = 5 * np.random.default_rng(seed).normal(size=SHAPE)
        made.append(exposure(gaussian_stars(SHAPE, x, y, flux, 1.8, xy0) + noise, 25.0, xy0=xy0, name=name))
    return made[0], made[1]


def source_list(stars=STARS, **columns) -> Table:
    x, y = np.array(stars, float).T
    return Table({"x": x, "y": y, **columns})


def select(sources: Table, template: Exposure, science: Exposure, *, kernel=None, **config) -> CandidateSet:
    return select_candidates(
        sources,
        template,
        science,
        CandidateConfig(**config),
        kernel or KernelConfig(),
        kernel_size=KERNEL_SIZE,
        n_parameters=10,
    )


def mark(image: Exposure, x: int, y: int, *planes: str) -> None:
    image.mask[y, x] |= image.masked_image.bits(planes)


def reasons(made: CandidateSet) -> list[str]:
    return [str(reason) for reason in made.table["reason"]]


def test_clean_stars_are_candidates():
    made = select(source_list(), *images())
    assert len(made) == 4
    assert reasons(made) == [""] * 4
    assert list(made.table["status"]) == ["unused"] * 4
    assert made.counts() == {"candidates": 4}
    assert (made.half_size, made.kernel_size) == (HALF, KERNEL_SIZE)
    first = made.table[0]
    assert [first[f"box_{k}"] for k in ("x0", "y0", "x1", "y1")] == [45, 35, 75, 65]


@pytest.mark.parametrize("where", ["template", "science"])
@pytest.mark.parametrize("plane", ["NO_DATA", "EDGE", "SAT", "BAD", "CR"])
def test_a_bad_pixel_in_either_image_refuses(where, plane):
    template, science = images()
    mark(template if where == "template" else science, 62, 48, plane)
    assert reasons(select(source_list(), template, science)) == [f"{where}-mask", "", "", ""]


@pytest.mark.parametrize("planes", [("BAD", "INTRP"), ("CR", "INTRP"), ("INTRP",), ("DETECTED",), ("SUSPECT",)])
def test_repaired_and_harmless_pixels_do_not_refuse(planes):
    template, science = images()
    mark(template, 60, 50, *planes)
    mark(science, 60, 50, *planes)
    assert reasons(select(source_list(), template, science)) == [""] * 4


def test_interpolation_does_not_repair_saturation():
    template, science = images()
    mark(science, 60, 50, "SAT", "INTRP")
    assert reasons(select(source_list(), template, science))[0] == "science-mask"


@pytest.mark.parametrize("array", ["image", "variance"])
def test_a_pixel_without_a_number_refuses_whatever_the_mask_says(array):
    template, science = images()
    getattr(template, array)[50, 60] = np.nan
    template.mask[50, 60] = template.masked_image.bits(["BAD", "INTRP"])
    assert reasons(select(source_list(), template, science))[0] == "template-mask"


@pytest.mark.parametrize(("offset", "refused"), [(REACH, True), (REACH + 1, False)])
def test_excluding_needs_a_core_whose_kernels_are_clean(offset, refused):
    template, science = images()
    mark(science, 60 + offset, 50 - offset, "BAD")
    assert (reasons(select(source_list(), template, science))[0] == "science-mask") == refused


@pytest.mark.parametrize(("offset", "refused"), [(HALF, True), (HALF + 1, False)])
def test_rejecting_needs_a_clean_stamp(offset, refused):
    template, science = images()
    mark(science, 60 - offset, 50 + offset, "BAD")
    assert (reasons(select(source_list(), template, science, mask_policy="reject"))[0] == "science-mask") == refused


def test_the_planes_that_refuse_are_a_setting():
    template, science = images()
    mark(science, 60, 50, "SUSPECT")
    mark(science, 150, 60, "CR")
    made = select(source_list(), template, science, bad_mask_planes=["SUSPECT"])
    assert reasons(made) == ["science-mask", "", "", ""]


@pytest.mark.parametrize(
    "position",
    [(-0.6, 50), (239.6, 50), (60, -3), (60, 200), (1e30, 50)],
    ids=["left", "right", "below", "above", "far"],
)
def test_sources_outside_are_refused(position):
    assert reasons(select(source_list([*STARS, position]), *images()))[-1] == "outside"


@pytest.mark.parametrize("position", [(np.nan, 50), (60, np.inf)])
def test_positions_that_are_no_number_are_refused(position):
    assert reasons(select(source_list([*STARS, position]), *images()))[-1] == "not-finite"


def test_a_core_without_any_known_noise_is_refused():
    template, science = images()
    science.variance[40:60, 50:70] = 0.0
    assert reasons(select(source_list(), template, science))[0] == "not-finite"


def test_boxes_are_cut_on_both_sides_at_the_border():
    stars = [*STARS, (10.3, 100.0), (100.0, 189.6)]
    made = select(source_list(stars), *images(stars))
    assert reasons(made)[-2:] == ["", ""]
    corners = ("box_x0", "box_y0", "box_x1", "box_y1")
    assert [made.table[k][4] for k in corners] == [0, 85, 20, 115]
    assert [made.table[k][5] for k in corners] == [85, 181, 115, 199]


def test_boxes_that_leave_too_few_fitted_pixels_are_refused():
    # A half side of 7 fits the kernel at one column of 17 pixels: fewer than two per parameter.
    stars = [*STARS, (7.0, 100.0), (8.0, 145.0), (3.0, 60.0)]
    made = select(source_list(stars), *images(stars))
    assert reasons(made)[-3:] == ["too-small", "", "too-small"]


def test_faint_sources_are_refused():
    sources = source_list(psf_flux=[2000.0, 50.0, -500.0, np.nan], psf_flux_err=[10.0, 10.0, 10.0, 10.0])
    made = select(sources, *images())
    assert reasons(made) == ["", "faint", "faint", ""]
    np.testing.assert_array_equal(made.table["snr"], [200.0, 5.0, -50.0, np.nan])


def test_the_limit_of_faintness_is_a_setting():
    sources = source_list(psf_flux=[2000.0] * 4, psf_flux_err=[10.0, 20.0, 100.0, 1000.0])
    assert reasons(select(sources, *images(), min_snr=90.0)) == ["", "", "faint", "faint"]


@pytest.mark.parametrize("where", [0, 1])
def test_a_source_in_one_image_only_is_refused(where):
    pair = list(images())
    pair[where] = images(STARS[1:])[where]
    assert reasons(select(source_list(), *pair)) == ["in-one-image", "", "", ""]


def test_of_close_candidates_the_brightest_is_kept():
    # The kernel's half side is 7 pixels.
    stars = [(60.0, 50.0), (67.0, 50.0), (150.0, 60.0), (158.0, 60.0), (60.0, 140.0)]
    made = select(source_list(stars), *images(stars, flux=[2e4, 3e4, 3e4, 2e4, 2e4]))
    assert reasons(made) == ["near-brighter", "", "", "", ""]


def test_a_refused_neighbour_refuses_nobody():
    stars = [(60.0, 50.0), (66.0, 50.0), (150.0, 60.0)]
    template, science = images(stars, flux=[2e4, 3e4, 2e4])
    sources = source_list(stars, psf_flux=[2e4, 30.0, 2e4], psf_flux_err=[10.0, 10.0, 10.0])
    assert reasons(select(sources, template, science)) == ["", "faint", ""]


def test_ranks_follow_the_rating_within_cells():
    stars = [(30, 30), (70, 40), (110, 50), (160, 40), (30, 160)]
    flux = [2e4, 5e4, 3e4, 1e4, 1e4]
    made = select(source_list(stars), *images(stars, flux=flux))
    table = made.table
    assert list(zip(table["cell_x"], table["cell_y"], table["rank"], strict=True)) == [
        (0, 0, 2),
        (0, 0, 0),
        (0, 0, 1),
        (1, 0, 0),
        (0, 1, 0),
    ]
    assert table["rating"][1] > table["rating"][2] > table["rating"][0] > 5


def test_cells_grow_where_there_would_be_too_many_candidates():
    region = Box(0, 0, 1279, 1279)
    # Ten by ten cells with five candidates each are as many as may be used, or four times as many.
    assert cell_sizes(region, KernelConfig(n_star_per_cell=5, max_candidates=500)) == (128.0, 128.0)
    assert cell_sizes(region, KernelConfig(n_star_per_cell=5, max_candidates=125)) == (256.0, 256.0)
    assert cell_sizes(region, KernelConfig(n_star_per_cell=0)) == (128.0, 128.0)


def test_cells_start_at_the_first_pixel_wherever_that_is():
    moved = [(x + 1000, y - 77) for x, y in STARS]
    cells = KernelConfig(size_cell_x=64, size_cell_y=50)
    made = select(source_list(moved), *images(moved, xy0=(1000, -77)), kernel=cells)
    assert list(made.table["cell_x"]) == [0, 2, 0, 2]
    assert list(made.table["cell_y"]) == [1, 1, 2, 3]


def wcs_at(xy0=(0, 0)) -> WCS:
    """Of array indices: RA crosses 0 inside the image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [0.0, -30.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [100.0 - xy0[0], 90.0 - xy0[1]], [-1e-4, 1e-4]
    return wcs


@pytest.mark.parametrize("xy0", [(0, 0), (500, -40)])
def test_a_list_may_have_sky_positions_only(xy0):
    stars = [(x + xy0[0], y + xy0[1]) for x, y in STARS]
    template, science = images(stars, xy0=xy0)
    science = replace(science, wcs=wcs_at())
    x, y = np.array(STARS).T
    ra, dec = science.wcs.all_pix2world(x, y, 0)
    made = select(Table({"ra": ra, "dec": dec}), template, science)
    # Degrees in double precision.
    np.testing.assert_allclose(made.table["x"], x + xy0[0], atol=1e-6)
    np.testing.assert_allclose(made.table["y"], y + xy0[1], atol=1e-6)
    np.testing.assert_array_equal(made.table["ra"], ra)


def test_sky_positions_need_a_wcs():
    with pytest.raises(UsageError, match="the source list has only ra and dec, and the science image has no WCS"):
        select(Table({"ra": [1.0], "dec": [2.0]}), *images())


def test_a_list_needs_positions():
    with pytest.raises(UsageError, match="needs the columns x and y, or ra and dec; it has id, flux"):
        select(Table({"id": [1], "flux": [2.0]}), *images())


def test_ids_are_kept_or_numbered():
    assert list(select(source_list(), *images()).table["id"]) == [1, 2, 3, 4]
    assert list(select(source_list(id=["a", "b", "c", "d"]), *images()).table["id"]) == ["a", "b", "c", "d"]


def test_an_empty_list_is_an_error():
    with pytest.raises(NoCandidatesError, match="the source list is empty"):
        select(source_list()[:0], *images())


def test_all_refused_is_an_error_with_counts():
    template, science = images()
    mark(template, 60, 50, "BAD")
    mark(science, 150, 60, "SAT")
    mark(science, 60, 140, "SAT")
    sources = source_list([*STARS[:3], (-5.0, 3.0)])
    with pytest.raises(NoCandidatesError, match="none of 4 sources can be a kernel candidate") as caught:
        select(sources, template, science)
    assert caught.value.counts == {"sources": 4, "candidates": 0, "outside": 1, "science-mask": 2, "template-mask": 1}
    for part in ("1 outside", "2 science-mask", "1 template-mask"):
        assert part in str(caught.value)


def test_exposures_on_different_grids_are_refused():
    with pytest.raises(InputError, match="are not on one pixel grid"):
        select(source_list(), images(xy0=(1, 0))[0], images()[1])


def test_the_inputs_are_unchanged():
    template, science = images()
    mark(science, 60, 50, "SAT")
    sources = source_list()
    before = [array.copy() for e in (template, science) for array in (e.image, e.mask, e.variance)]
    select(sources, template, science)
    after = [array for e in (template, science) for array in (e.image, e.mask, e.variance)]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert sources.colnames == ["x", "y"]


def test_the_log_counts_what_was_refused(caplog):
    template, science = images()
    mark(science, 60, 50, "SAT")
    with caplog.at_level(logging.INFO, logger="psfmatch_cli.candidates"):
        select(source_list(), template, science)
    assert "candidates: 3 of 4 sources (refused: 1 science-mask)" in caplog.text


def test_the_signal_to_noise_ratios_of_all_cores_add_in_quadrature():
    template, science = images()
    mark(science, 60, 50, "SAT")
    made = select(source_list(), template, science)
    rating = np.asarray(made.table["rating"])[1:]
    # Mean significances of 49 pixels of noise 1.
    assert total_snr(made) == pytest.approx(7 * np.sqrt((rating**2).sum()), rel=1e-12)


def test_copies_have_tables_of_their_own():
    made = select(source_list(), *images())
    made.copy().table["status"][0] = "used"
    assert made.table["status"][0] == "unused"


def test_every_reason_given_is_described():
    assert set(REASONS) >= {"not-finite", "outside", "too-small", "faint", "in-one-image", "near-brighter"}
    assert all(len(reason) <= 16 for reason in REASONS), "the column of reasons holds 16 characters"


def test_stamps_hold_the_pixels_around_their_candidates():
    template, science = images(xy0=(0, 0))
    made = select(source_list(), template, science)
    stamps = cut_stamps(made, np.array([2, 0]), template.masked_image, science.masked_image, ["BAD"])
    assert len(stamps) == 2
    np.testing.assert_array_equal(stamps.x, [60.0, 60.2])
    np.testing.assert_array_equal(stamps.science[1], science.image[35:66, 45:76])
    np.testing.assert_array_equal(stamps.template_variance[0], template.variance[125:156, 45:76])
    assert stamps.template_usable.all()


def test_bad_pixels_of_a_stamp_are_neutral():
    template, science = images()
    mark(template, 47, 37, "CR")
    mark(science, 74, 63, "BAD", "INTRP")
    science.variance[64, 74] = np.inf
    made = select(source_list(), template, science)
    stamps = cut_stamps(made, np.array([0]), template.masked_image, science.masked_image, ["BAD", "CR"])
    assert np.argwhere(~stamps.template_usable).tolist() == [[0, 2, 2]]
    assert np.argwhere(~stamps.science_usable).tolist() == [[0, 29, 29]]
    assert (stamps.template[0, 2, 2], stamps.template_variance[0, 2, 2]) == (0.0, 1.0)
    assert stamps.science_variance[0, 29, 29] == 1.0
    # A repaired pixel counts.
    assert stamps.science[0, 28, 29] == science.image[63, 74]


def test_a_cut_box_sits_in_the_middle_of_its_stamp():
    stars = [(11.0, 100.0)]
    template, science = images(stars)
    made = select(source_list(stars), template, science)
    stamps = cut_stamps(made, np.array([0]), template.masked_image, science.masked_image, ["BAD"])
    usable = np.zeros((31, 31), bool)
    usable[:, 4:27] = True
    np.testing.assert_array_equal(stamps.science_usable[0], usable)
    np.testing.assert_array_equal(stamps.science[0, :, 4:27], science.image[85:116, 0:23])
    assert not stamps.science[0][~usable].any()
