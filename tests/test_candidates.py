"""Which sources become candidates, why others do not, and the stamps that are cut."""

import logging

import numpy as np
import pytest
from astropy.table import Table

from made_pairs import exposure, gaussian_stars
from psfmatch_cli.candidates import REASONS, CandidateSet, select_candidates, total_snr
from psfmatch_cli.config import CandidateConfig, KernelConfig
from psfmatch_cli.cutouts import cut_stamps
from psfmatch_cli.errors import InputError, NoCandidatesError
from psfmatch_cli.exposure import Box, Exposure
from psfmatch_cli.source_entries import Footprint, table_of_entries

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


def box(made: CandidateSet, row: int = 0) -> list[int]:
    return [int(made.table[f"box_{name}"][row]) for name in ("x0", "y0", "x1", "y1")]


@pytest.mark.parametrize("xy0", [(0, 0), (1000, -77)])
@pytest.mark.parametrize(
    ("offset", "pixel"), [(-0.5, 0), (-0.49, 0), (0.0, 0), (0.49, 0), (0.5, 1), (1.0, 1)], ids=lambda value: str(value)
)
def test_the_stamp_is_around_the_nearest_pixel_halves_up(offset, pixel, xy0):
    stars = [(60.0 + xy0[0], 50.0 + xy0[1])]
    given = source_list([(stars[0][0] + offset, stars[0][1] - offset)])
    made = select(given, *images(stars, xy0=xy0))
    # -0.5 is rounded up, too: the pixel above it.
    down = {-0.5: 1, -0.49: 0, 0.0: 0, 0.49: 0, 0.5: 0, 1.0: -1}[offset]
    x, y = 60 + xy0[0] + pixel, 50 + xy0[1] + down
    assert box(made) == [x - HALF, y - HALF, x + HALF, y + HALF]


def test_stamps_grow_with_the_kernel_or_by_a_setting():
    one = source_list(STARS[:1])
    assert box(select(one, *images(), fp_grow_kernel_scaling=1.1)) == [43, 33, 77, 67]
    fixed = select(one, *images(), scale_by_fwhm=False)
    assert fixed.half_size == 30
    assert box(fixed) == [30, 20, 90, 80]
    assert box(select(one, *images(), scale_by_fwhm=False, fp_grow_pix=12, fp_grow_kernel_scaling=2)) == [
        48,
        38,
        72,
        62,
    ]


def footprints(*entries: Footprint) -> Table:
    return table_of_entries(entries)


def test_the_stamp_of_a_footprint_is_its_grown_box():
    made = select(footprints(Footprint(Box(56, 47, 64, 53))), *images())
    assert box(made) == [56 - HALF, 47 - HALF, 64 + HALF, 53 + HALF]
    assert made.half_size == HALF + 4
    fixed = select(footprints(Footprint(Box(56, 47, 64, 53))), *images(), scale_by_fwhm=False, fp_grow_pix=20)
    assert box(fixed) == [36, 27, 84, 73]


def test_the_source_stays_in_the_middle_of_its_stamp():
    made = select(footprints(Footprint(Box(59, 48, 70, 51), (60.2, 50.4))), *images())
    # 10 pixels to the right and 2 below are the farther sides.
    assert box(made) == [60 - 10 - HALF, 50 - 2 - HALF, 60 + 10 + HALF, 50 + 2 + HALF]
    # A box of even sides has its middle between two pixels: the upper one.
    assert box(select(footprints(Footprint(Box(59, 49, 60, 50))), *images())) == [44, 34, 76, 66]


def test_a_grown_footprint_is_cut_on_both_sides_at_the_border():
    stars = [*STARS, (20.0, 100.0)]
    made = select(footprints(Footprint(Box(12, 96, 28, 104))), *images(stars))
    assert box(made) == [0, 96 - HALF, 40, 104 + HALF]


def test_bad_pixels_in_a_grown_footprint_refuse_where_they_are_not_excluded():
    template, science = images()
    mark(science, 56 - HALF, 50, "BAD")
    given = footprints(Footprint(Box(56, 47, 64, 53)))
    with pytest.raises(NoCandidatesError, match="1 science-mask"):
        select(given, template, science, mask_policy="reject")
    assert len(select(given, template, science)) == 1
    assert len(select(source_list(STARS[:1]), template, science, mask_policy="reject")) == 1


@pytest.mark.parametrize("large", [Box(49, 39, 71, 61), Box(30, 50, 90, 50)], ids=["square", "narrow"])
def test_too_large_footprints_count_by_their_central_pixel(large, caplog):
    with caplog.at_level(logging.INFO):
        made = select(footprints(Footprint(large, (60.0, 50.0))), *images())
    assert box(made) == [45, 35, 75, 65]
    assert "1 footprints are too large" in caplog.text
    assert box(select(footprints(Footprint(Box(49, 39, 70, 60), (60.0, 50.0))), *images()))[2] == 71 + HALF


def test_stamps_of_different_footprints_are_cut_to_one_size():
    template, science = images()
    given = footprints(Footprint(Box(56, 47, 64, 53)), Footprint(Box(150, 60, 150, 60)))
    made = select(given, template, science)
    stamps = cut_stamps(made, np.array([0, 1]), template.masked_image, science.masked_image, ["BAD"])
    assert stamps.science.shape == (2, 2 * HALF + 9, 2 * HALF + 9)
    assert stamps.science_usable.sum(axis=(1, 2)).tolist() == [(2 * HALF + 9) * (2 * HALF + 7), (2 * HALF + 1) ** 2]
    np.testing.assert_array_equal(stamps.science[1, 4:-4, 4:-4], science.image[45:76, 135:166])


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


def test_cells_start_at_the_first_pixel_wherever_that_is():
    moved = [(x + 1000, y - 77) for x, y in STARS]
    cells = KernelConfig(size_cell_x=64, size_cell_y=50)
    made = select(source_list(moved), *images(moved, xy0=(1000, -77)), kernel=cells)
    assert list(made.table["cell_x"]) == [0, 2, 0, 2]
    assert list(made.table["cell_y"]) == [1, 1, 2, 3]


def test_candidates_are_numbered_and_keep_the_ids_of_their_sources():
    made = select(source_list(id=["a", "b", "c", "d"]), *images()).table
    assert list(made["id"]) == [1, 2, 3, 4]
    assert list(made["source_id"]) == ["a", "b", "c", "d"]
    assert list(select(source_list(), *images()).table["source_id"]) == [1, 2, 3, 4]
    both = select(source_list(id=[1, 2, 3, 4], source_id=[9, 8, 7, 6]), *images()).table
    assert list(both["source_id"]) == [9, 8, 7, 6]


def test_sky_positions_of_the_list_are_kept():
    ra, dec = [10.0, 10.1, 10.2, 10.3], [-5.0, -5.1, -5.2, -5.3]
    made = select(source_list(ra=ra, dec=dec), *images()).table
    np.testing.assert_array_equal(made["ra"], ra)
    np.testing.assert_array_equal(made["dec"], dec)
    assert (made["ra"].unit, made["x"].unit) == ("deg", "pix")


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


@pytest.mark.parametrize("radius", [1, 3, 5])
def test_the_rated_core_is_a_setting(radius):
    template, science = images()
    made = select(source_list(), template, science, kernel=KernelConfig(candidate_core_radius=radius))
    stamp = science.image[35:66, 45:76].astype(float)
    core = science.image[50 - radius : 51 + radius, 60 - radius : 61 + radius]
    assert made.table["rating"][0] == pytest.approx((core - np.median(stamp)).mean() / 5.0, rel=1e-6)
    assert made.core_radius == radius
    rating = np.asarray(made.table["rating"])
    assert total_snr(made) == pytest.approx((2 * radius + 1) * np.sqrt((rating**2).sum()), rel=1e-12)


def test_pixels_of_the_bad_planes_are_not_rated():
    template, science = images()
    plain = select(source_list(), template, science).table["rating"]
    mark(science, 60, 50, "SUSPECT")
    assert select(source_list(), template, science).table["rating"][0] == plain[0]
    made = select(source_list(), template, science, kernel=KernelConfig(bad_mask_planes=["SUSPECT"]))
    core = science.image[47:54, 57:64].astype(float)
    level = np.median(science.image[35:66, 45:76])
    others = (core.sum() - core[3, 3]) / 48
    assert made.table["rating"][0] == pytest.approx((others - level) / 5.0, rel=1e-6)
    assert made.table["rating"][1] == plain[1]


def test_of_equal_ratings_the_last_of_the_list_comes_first():
    stars = [(30.0, 30.0), (70.0, 40.0), (100.0, 60.0)]
    x, y = np.array(stars).T
    clean = [exposure(gaussian_stars(SHAPE, x, y, 2e4, 1.8), 25.0, name=name) for name in ("template", "science")]
    made = select(source_list(stars), *clean)
    assert len(set(made.table["rating"].tolist())) == 1, "the same pixels"
    assert made.table["rank"].tolist() == [2, 1, 0]


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
