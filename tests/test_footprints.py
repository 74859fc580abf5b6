"""The old finder of candidates: what is a footprint, and which are refused and why."""

import logging

import numpy as np
import pytest
from scipy import ndimage

from made_pairs import gaussian_pair
from psfmatch_cli.config import CandidateConfig
from psfmatch_cli.errors import BoxMismatchError, InputError, NoSourcesError
from psfmatch_cli.exposure import DEFAULT_PLANES, Exposure, MaskedImage
from psfmatch_cli.footprints import find_footprints
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.settings import Settings

BOX = [f"footprint_{corner}" for corner in ("x0", "y0", "x1", "y1")]


def exposure(image, mask=None, variance=None, **attributes):
    variance = np.ones(np.shape(image)) if variance is None else variance
    return Exposure(MaskedImage.from_arrays(image, mask, variance, **attributes))


def squares(shape, *corners, side=3, value=100.0):
    """Image of bright squares with their lower left corners at the given (x, y)."""
    image = np.zeros(shape)
    for x, y in corners:
        image[y : y + side, x : x + side] = value
    return image


def plane(shape, name, *pixels):
    mask = np.zeros(shape, np.int32)
    for x, y in pixels:
        mask[y, x] |= 1 << DEFAULT_PLANES[name]
    return mask


def found(image, science=None, **settings):
    science = image if science is None else science
    return find_footprints(image, science, CandidateConfig(fp_grow_pix=10, **settings))


# Footprints


def test_boxes_positions_and_sizes_are_those_of_the_pixels():
    image = squares((80, 100), (20, 30), (60, 40))
    image[29, 23] = 100.0  # touches the first square at a corner
    table = found(exposure(image, xy0=(1000, -50)))
    assert [tuple(row[BOX]) for row in table] == [(1020, -21, 1023, -18), (1060, -10, 1062, -8)]
    assert list(zip(table["x"], table["y"], strict=True)) == [(1021.5, -19.5), (1061, -9)]
    assert list(table["npix"]) == [10, 9]
    assert not any(table["refused"])


def test_small_footprints_are_none():
    image = squares((60, 60), (20, 20))
    image[40, 40:44] = 100.0
    assert len(found(exposure(image))) == 1
    assert len(found(exposure(image), fp_npix_min=10)) == 0


def test_an_oversized_footprint_is_its_central_pixel():
    image = squares((100, 120), (30, 40), side=20)
    image[40, 30:51] = 100.0  # 21 columns, 20 rows: the centre is (40, 49.5), truncated
    table = found(exposure(image), fp_npix_max=400)
    assert table["npix"][0] == 401
    assert tuple(table[BOX][0]) == (40, 49, 40, 49)
    assert tuple(found(exposure(image), fp_npix_max=500)[BOX][0]) == (30, 40, 50, 59)


def footprints_by_hand(above):
    """Pixels of each 8-connected footprint, by following neighbours one by one."""
    open_pixels = set(zip(*np.nonzero(above), strict=True))
    while open_pixels:
        members, queue = set(), [open_pixels.pop()]
        while queue:
            y, x = queue.pop()
            members.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & open_pixels
            open_pixels -= near
            queue += near
        yield members


def test_footprints_are_those_found_pixel_by_pixel():
    image = 3 * ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(180, 220)), 1.0) / 0.28
    table = found(exposure(image), det_threshold=3, det_threshold_type="value", fp_npix_max=12)
    expected = []
    for members in footprints_by_hand(image.astype(np.float32) >= 3):
        (y0, x0), (y1, x1) = np.min(list(members), axis=0), np.max(list(members), axis=0)
        if len(members) > 12:
            x0 = x1 = (x0 + x1) // 2
            y0 = y1 = (y0 + y1) // 2
        if len(members) >= 5:
            expected.append((x0, y0, x1, y1, len(members)))
    assert len(expected) > 100
    assert sum(row[-1] > 12 for row in expected) > 20
    assert sorted(tuple(row) for row in table[[*BOX, "npix"]]) == sorted(expected)


# Threshold


@pytest.mark.parametrize(
    ("kind", "below", "above"),
    [("value", 13, 15), ("stdev", 6.5, 7.5), ("variance", 3.2, 3.8), ("pixel_stdev", 6.5, 7.5)],
)
def test_thresholds_of_every_type(kind, below, above):
    # A square of 14 counts on noise of standard deviation 2 and variance 4.
    noise = np.random.default_rng(2).normal(0, 2, (100, 100))
    image = np.where(squares((100, 100), (40, 40)) > 0, 14, noise)
    science = exposure(image, variance=np.full((100, 100), 4.0))
    numbers = [len(found(science, det_threshold_type=kind, det_threshold=value)) for value in (below, above)]
    assert numbers == [1, 0]


def test_the_noise_of_each_pixel_counts():
    image = squares((80, 100), (20, 30), (60, 40), value=50.0)
    variance = np.ones(image.shape)
    variance[:, 50:] = 100.0
    assert list(found(exposure(image, variance=variance))["x"]) == [21]
    variance[:, :50] = np.inf
    assert len(found(exposure(image, variance=variance))) == 0


def test_the_template_is_searched_or_the_science_image():
    template, science = (exposure(squares((60, 60), (x, 20))) for x in (20, 30))
    assert list(found(template, science)["x"]) == [21]
    assert list(found(template, science, det_on_template=False)["x"]) == [31]


def test_pixels_without_a_value_are_none():
    image = squares((60, 60), (20, 20))
    image[40:45, 40:45] = np.nan
    assert len(found(exposure(image))) == 1


# Refusals


def test_grown_boxes_must_lie_inside_the_image():
    image = squares((60, 80), (10, 30), (9, 45), (67, 20), (68, 5))
    table = found(exposure(image))
    inside = {(10, 30): "", (9, 45): "outside", (67, 20): "", (68, 5): "outside"}
    assert {(row["footprint_x0"], row["footprint_y0"]): row["refused"] for row in table} == inside


def test_masked_pixels_drop_one_candidate_and_then_three():
    corners = [(x, y) for y in (30, 80, 130) for x in (30, 80, 130)]
    image = squares((165, 165), *corners)
    clean = found(exposure(image))
    assert np.sum(clean["refused"] == "") == 9
    template = exposure(image, plane(image.shape, "SAT", (22, 40)))
    one = found(template, exposure(image))
    assert np.sum(one["refused"] == "") == 8
    science = exposure(image, plane(image.shape, "EDGE", (90, 92), (140, 120)))
    three = found(template, science)
    assert np.sum(three["refused"] == "") == 6
    assert sorted(three["refused"])[-3:] == ["science-mask", "science-mask", "template-mask"]


@pytest.mark.parametrize(("offset", "refused"), [(-10, "science-mask"), (-11, ""), (12, "science-mask"), (13, "")])
def test_a_masked_pixel_counts_within_the_growth(offset, refused):
    image = squares((100, 100), (50, 50))
    for at in ((50 + offset, 51), (51, 50 + offset)):
        science = exposure(image, plane(image.shape, "BAD", at))
        assert found(exposure(image), science)["refused"][0] == refused


def test_only_the_planes_of_the_settings_count():
    image = squares((100, 100), (50, 50))
    science = exposure(image, plane(image.shape, "CR", (55, 55)))
    assert found(exposure(image), science)["refused"][0] == "science-mask"
    assert found(exposure(image), science, bad_mask_planes=["SAT"])["refused"][0] == ""


# In a match


SETTINGS = Settings(candidates=CandidateConfig(finder="footprints"), adapt=False)


@pytest.fixture(scope="module")
def pair():
    """Template of sigma 2.0, science image of 2.4, noise 1 each, no sky; bright stars."""
    return gaussian_pair((2.0, 2.4), flux=(5e3, 2e4))


def fwhms(*sigmas):
    return [sigma * FWHM_PER_SIGMA for sigma in sigmas]


def test_a_match_from_footprints_leaves_noise(pair):
    template, science, _ = pair
    task = ImagePsfMatchTask(SETTINGS)
    result = task.subtract_exposures(template, science, *fwhms(2.0, 2.4))
    table = result.kernel_cell_set.table
    assert task.metadata["sourcePositions"] == "footprints of the template"
    assert task.metadata["nSources"] == len(table)
    assert np.sum(table["status"] == "used") >= 5
    difference = result.subtracted_exposure
    good = np.isfinite(difference.image) & (difference.variance > 0)
    # 40000 pixels of robust width 1; the predicted noise is that of the variance.
    z = (difference.image / np.sqrt(difference.variance))[good]
    assert 1.4826 * np.median(np.abs(z - np.median(z))) == pytest.approx(1, abs=0.04)
    assert np.std(z) == pytest.approx(1, abs=0.1)
    assert "tempLocalBackground" in str(task.get_task_dict())
    assert "runStartUtc" not in task.select_detection.metadata, "nothing was detected"


def test_stamps_are_the_grown_boxes(pair):
    template, science, _ = pair
    made = ImagePsfMatchTask(SETTINGS).find_candidates(template, science, *fwhms(2.0, 2.4))
    found = find_footprints(template, science, SETTINGS.candidates)
    assert list(made.table["x"]) == list(found["x"])
    rows = np.asarray(made.table["status"] != "refused")
    assert rows.sum() > 5
    for axis in "xy":
        low, high = found[f"footprint_{axis}0"] - 30, found[f"footprint_{axis}1"] + 30
        # Even sides are a pixel longer, so that the stamp has a central pixel.
        long = (high - low) % 2
        np.testing.assert_array_equal(made.table[f"box_{axis}0"][rows], low[rows])
        np.testing.assert_array_equal(made.table[f"box_{axis}1"][rows], (high + long)[rows])


def test_each_footprint_keeps_its_reason(pair):
    template, science, _ = pair
    # The stars keep 40 pixels from the border; a growth of 45 takes some of their boxes over it.
    settings = SETTINGS.model_copy(update={"candidates": SETTINGS.candidates.model_copy(update={"fp_grow_pix": 45})})
    clean = ImagePsfMatchTask(settings).find_candidates(template, science, *fwhms(2.0, 2.4))
    open_rows = np.flatnonzero(clean.table["status"] != "refused")
    spoilt = template.masked_image.copy()
    # The corner of a stamp: the policy "exclude" would leave this pixel out and keep the candidate.
    x, y = (int(clean.table[name][open_rows[0]]) for name in ("box_x0", "box_y0"))
    spoilt.mask[y - template.xy0[1], x - template.xy0[0]] |= spoilt.bits(["SAT"])
    made = ImagePsfMatchTask(settings).find_candidates(template.with_pixels(spoilt), science, *fwhms(2.0, 2.4))
    assert made.table["reason"][open_rows[0]] == "template-mask"
    assert made.counts()["outside"] == clean.counts()["outside"] > 0
    assert len(made) < len(clean)


def test_candidates_are_footprints_where_no_list_is_given(pair):
    template, science, _ = pair
    task = ImagePsfMatchTask(SETTINGS)
    made = task.make_candidate_list(template, science, 21)
    assert task.metadata["nSources"] == len(made.table)
    assert len(made) == task.metadata["nCandidates"] > 5


def test_no_footprint_is_an_error(pair):
    template, science, _ = pair
    high = SETTINGS.candidates.model_copy(update={"det_threshold": 1e6, "det_on_template": False})
    with pytest.raises(
        NoSourcesError, match=r"no footprints of the science image of 5 pixels or more at a threshold of 1e\+06"
    ):
        ImagePsfMatchTask(SETTINGS.model_copy(update={"candidates": high})).match_exposures(
            template, science, *fwhms(2.0, 2.4)
        )


# What cannot be searched


def test_a_sky_is_signal(caplog):
    image = squares((80, 80), (40, 40)) + 1000
    with caplog.at_level(logging.WARNING, "psfmatch_cli"):
        table = found(exposure(image))
    # All pixels are one footprint, replaced by the central pixel.
    assert tuple(table[BOX][0]) == (39, 39, 39, 39)
    assert "100 % of the pixels are above the threshold of the footprint finder" in caplog.text


def test_nothing_found_is_an_empty_table():
    table = found(exposure(np.zeros((50, 50))))
    assert len(table) == 0
    assert {"x", "y", "npix", "refused", *BOX} <= set(table.colnames)


def test_the_images_must_be_on_one_grid():
    with pytest.raises(BoxMismatchError, match="they must be equal"):
        found(exposure(np.zeros((50, 50))), exposure(np.zeros((50, 51))))


def test_a_pixel_threshold_needs_a_variance():
    unknown = Exposure(MaskedImage.from_arrays(np.zeros((50, 50))))
    with pytest.raises(InputError, match="needs a variance plane, and none is known; use stdev"):
        found(unknown)
