"""The page of a report: its pictures, its numbers, and that no text of a file becomes an element of it."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from html_pages import Page, decode
from psfmatch_cli.candidates import REASONS
from psfmatch_cli.exposure import DEFAULT_PLANES, Box, MaskedImage
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel, SpatialModel
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.report import colors
from psfmatch_cli.report.kernels import kernel_mosaic
from psfmatch_cli.report.markup import table, tag
from psfmatch_cli.report.page import make_page
from psfmatch_cli.report.panels import FULL_COLOR, display_of
from psfmatch_cli.report.png import data_uri, encode
from psfmatch_cli.report.residuals import PER_UNIT, REACH, cell_maps, histogram
from psfmatch_cli.report.stamps import core_residuals, cut
from psfmatch_cli.report.stretch import Stretch, block_means, block_significance, sky_of
from psfmatch_cli.report.subject import Subject

SHAPE = (96, 128)
XY0 = (1000, 2000)
#: What must come out as text.
EVIL = "<script>alert(1)</script>\"'&"


@pytest.fixture(scope="module")
def subject():
    """Noise of 5 counts, and at the parent position (1040, 2030) a pixel of 100 counts in the science image alone."""
    rng = np.random.default_rng(3)
    template = rng.normal(100.0, 3.0, SHAPE).astype(np.float32)
    science = rng.normal(500.0, 4.0, SHAPE).astype(np.float32)
    science[30, 40] += 100
    difference = (science - template - 400).astype(np.float32)
    mask = np.zeros(SHAPE, np.int32)
    mask[80:90, 10:20] = 1 << DEFAULT_PLANES["SAT"]
    image = MaskedImage(difference, mask, np.full(SHAPE, 25.0, np.float32), xy0=XY0)
    box = Box(XY0[0], XY0[1], XY0[0] + SHAPE[1] - 1, XY0[1] + SHAPE[0] - 1)
    basis = np.zeros((1, 5, 5))
    basis[0, 2, 2] = 1
    kernel = MatchingKernel(basis, np.array([[2.0, 0.5, 0.0]]), SpatialModel("chebyshev1", 1, box))
    background = BackgroundModel(np.array([400.0]), SpatialModel("chebyshev1", 0, box))
    candidates = Table(
        {
            "x": [1040.0, 1080.4, np.nan, 1015.0],
            "y": [2030.0, 2050.6, 2010.0, 2085.0],
            "snr": [50.0, 20.0, 5.0, 9.0],
            "status": ["rejected", "used", "refused", "refused"],
            "reason": ["single-fit", "", "not-finite", "science-mask"],
        }
    )
    record = TaskMetadata()
    record["run"] = {
        "id": "0123456789abcdef",
        "arguments": ["subtract", EVIL],
        "warnings": [f"the file {EVIL} is odd"],
        "summary": {
            "sky_width": 1.0123,
            "kernel_sum": 2.0,
            "convolved": "template",
            "n_used": 1,
            "masked_fraction": 0.05,
        },
        "settings": {"kernel": {"kernel_size": "21"}, "threads": 1},
        "settingSources": {"kernel": {"kernel_size": "option --kernel-size"}, "threads": "default"},
        "inputs": {"science": {"path": EVIL, "sha256": "ab" * 32}},
        "versions": {"numpy": "1.2.3"},
    }
    images = {"template": template, "science": science, "matched": template}
    described = {"template": "t.fits", "science": EVIL}
    return Subject(EVIL, image, images, described, record, kernel, background, candidates, None, (f"no {EVIL}",))


@pytest.fixture(scope="module")
def page(subject):
    return Page(make_page(subject))


def test_a_png_holds_the_pixels():
    pixels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    palette = np.random.default_rng(1).integers(0, 256, (35, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decode(data_uri(encode(pixels, palette))), palette[pixels])


def test_colors_are_white_in_the_middle_and_slate_without_a_value():
    shown = colors.palette()[colors.signed(np.array([-9.0, -1, 0, 1, 9, np.nan]))]
    np.testing.assert_array_equal(shown[2], [247, 247, 247])
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_array_equal(shown[4], shown[3])
    assert shown[0, 2] > shown[0, 0]
    assert shown[4, 0] > shown[4, 2]
    np.testing.assert_array_equal(shown[5], colors.palette()[colors.NO_VALUE])
    greys = colors.palette()[colors.greys(np.array([0.0, 1.0]))]
    np.testing.assert_array_equal(greys, [[0, 0, 0], [255, 255, 255]])


def test_every_reason_has_a_color_of_its_own():
    assert set(colors.FATES) == set(REASONS) - {""} | {"used", "unused"}
    assert len(set(colors.FATES.values())) == len(colors.FATES)


def test_the_sky_is_found_below_sources():
    rng = np.random.default_rng(2)
    image = rng.normal(50.0, 4.0, (200, 200))
    image[:20] += 1000
    image[100, :50] = np.nan
    sky = sky_of(image)
    # A tenth of the pixels are source: a median without clipping would be 0.5 too high.
    assert abs(sky.level - 50) < 0.2
    assert abs(sky.noise - 4) < 0.3


def test_the_stretch_goes_from_black_to_white():
    stretch = Stretch(noise=2.0, white=100.0)
    assert abs(stretch(np.array(-5.0))) < 1e-12
    assert abs(stretch(np.array(100.0)) - 1) < 1e-12
    assert np.all(np.diff(stretch(np.linspace(-5, 100, 50))) > 0)


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_blocks(factor):
    rng = np.random.default_rng(factor)
    image = rng.normal(size=(13, 17)).astype(np.float32)
    image[4, 5] = np.nan
    means, sums = block_means(image, factor), block_significance(image, factor)
    for row, column in np.ndindex(means.shape):
        block = image[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        known = block[np.isfinite(block)]
        if known.size:
            assert abs(means[row, column] - known.mean()) < 1e-6
        if 2 * known.size >= factor**2:
            assert abs(sums[row, column] - known.sum() / np.sqrt(known.size)) < 1e-5
        else:
            assert np.isnan(sums[row, column])


def test_blocks_of_white_noise_have_unit_significance():
    noise = np.random.default_rng(7).normal(size=(600, 600)).astype(np.float32)
    # 22,500 blocks: their width is known to 0.5 %.
    assert abs(block_significance(noise, 4).std() - 1) < 0.02


def test_images_are_shown_above_their_own_sky_in_science_counts(subject):
    display = display_of(subject)
    assert display.scales == {"template": 2.0, "science": 1.0, "matched": 1.0}
    assert abs(display.above_sky("template", np.array(110.0)) - 20) < 1
    assert abs(display.above_sky("science", np.array(520.0)) - 20) < 1
    science_convolved = replace(subject, record=TaskMetadata())
    science_convolved.record["run"] = {"summary": {"kernel_sum": 2.0, "convolved": "science"}}
    assert display_of(science_convolved).scales == {"template": 0.5, "science": 1.0, "matched": 0.5}


def test_the_difference_is_shown_in_units_of_its_noise(page, subject):
    shown = page.pictures()[f"Difference / noise, {SHAPE[1]} x {SHAPE[0]} pixels"]
    expected = subject.difference.image / 5 / FULL_COLOR
    expected[80:90, 10:20] = np.nan
    np.testing.assert_array_equal(shown, colors.palette()[colors.signed(expected)])
    np.testing.assert_array_equal(shown[30, 40], colors.palette()[colors.NO_VALUE - 1])


def test_stamps_and_panels_have_the_lowest_row_at_the_bottom(page):
    shown = page.pictures()
    science = shown[f"Science, {SHAPE[1]} x {SHAPE[0]} pixels"]
    assert science[30, 40].tolist() == [255, 255, 255]
    stamp = shown["stamps at x 1040, y 2030"]
    half = stamp.shape[0] // 2
    side = 2 * half + 1
    assert stamp.shape == (side, 3 * side + 2, 3)
    assert stamp[half, side + 1 + half].tolist() == [255, 255, 255]
    assert stamp[half, half].max() < 160


def test_a_stamp_at_the_border_is_filled(subject):
    image = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(cut(image, (0, 2), 1), [[np.nan, 4, 5], [np.nan, 8, 9], [np.nan] * 3])
    assert np.isnan(cut(image, (50, 50), 1)).all()


def test_the_worst_residuals_come_first(page, subject):
    rms = core_residuals(subject)
    y, x = np.mgrid[-4:5, -4:5]
    near = x**2 + y**2 <= 16  # 1.5 FWHM of the 3 pixels that stand for an unknown one, rounded
    core = subject.significance[26:35, 36:45][near]
    assert abs(rms[0] - np.sqrt(np.mean(core**2))) < 1e-5
    assert np.isnan(rms[2:]).all(), "no position, and a core that is masked"
    order = [image["alt"] for image in page.all("img") if image["alt"].startswith("stamps")]
    assert order == ["stamps at x 1040, y 2030", "stamps at x 1080, y 2051"] * 2


def test_the_histogram_counts_every_pixel(subject):
    counts = histogram(subject)
    assert counts.all_pixels.sum() == SHAPE[0] * SHAPE[1] - 100
    assert counts.all_pixels[-1] == np.count_nonzero(subject.significance >= REACH - 1 / PER_UNIT) >= 1
    detected = replace(subject.difference, mask=np.full(SHAPE, 1 << DEFAULT_PLANES["DETECTED"], np.int32))
    assert histogram(replace(subject, difference=detected)).sky.sum() == 0


def test_the_maps_show_width_and_mean_where_they_are(subject):
    image = subject.difference.image.copy()
    image[:48, :64] *= 2
    image[48:, 64:] += 5
    widths, means = cell_maps(replace(subject, difference=replace(subject.difference, image=image)))
    assert widths.shape == means.shape == (6, 8)
    # 256 pixels a cell: 8 % for a width, 0.06 for a mean.
    assert abs(np.median(widths[:3, :4]) - 2) < 0.15
    assert abs(np.median(widths[3:, :4]) - 1) < 0.1
    assert abs(np.median(means[3:, 4:]) - 1) < 0.1


def test_the_kernels_are_those_of_their_places(subject):
    box = Box(*XY0, XY0[0] + SHAPE[1] - 1, XY0[1] + SHAPE[0] - 1)
    mosaic = kernel_mosaic(subject.kernel, box)
    assert mosaic.shape == (4 * 6 - 1, 5 * 6 - 1)
    x = XY0[0] - 0.5 + SHAPE[1] * (np.arange(5) + 0.5) / 5
    expected = subject.kernel.sum(x, np.full(5, 2000.0))
    np.testing.assert_allclose(mosaic[2, 2::6], expected / expected.max(), rtol=1e-12)
    assert np.isinf(mosaic[5]).all()


def test_no_text_of_a_file_becomes_an_element(page):
    assert len(page.all("script")) == 1
    assert EVIL in page.text
    assert str(tag("b", EVIL, title=EVIL)).count("<") == 2
    assert "<script" not in table((EVIL,), [(EVIL, EVIL)])


def test_the_page_needs_nothing_else(page):
    for name, attributes in page.elements:
        assert name not in ("link", "iframe", "object", "embed", "base"), name
        for attribute in ("src", "href", "srcset", "data", "action"):
            assert attributes.get(attribute, "#").startswith(("#", "data:image/png;base64,")), (name, attributes)
        assert not [key for key in attributes if key.startswith("on")], name
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_picture_has_words(page):
    assert all(image["alt"] for image in page.all("img"))
    assert all(chart.get("aria-label") or chart.get("aria-hidden") for chart in page.all("svg"))
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {link["href"].removeprefix("#") for link in page.all("a")} <= anchors


def test_the_numbers_are_those_of_the_record(page):
    for words in ("1.012", "5.0%", "option --kernel-size", "abababababab", "numpy 1.2.3", "run.summary.n_used 1"):
        assert words in page.text, words
    assert "threads" not in page.text, "a setting that is the default"


def test_the_median_residual_stands_at_the_top(page, subject):
    rms = core_residuals(subject)[:2]
    assert f"Residual at sources {np.median(rms):.2f} sigma, median of 2; 1 is perfect" in page.text
    assert f"the worst {rms.max():.1f}" in page.text


def test_a_verdict_is_shown_with_its_reasons(subject):
    record = TaskMetadata.from_dict(subject.record.to_dict())
    record["run.summary.quality"] = "bad"
    record["run.summary.quality_reasons"] = ["sky is off zero"]
    judged = Page(make_page(replace(subject, record=record)))
    assert "verdict bad" in [element.get("class") for element in judged.all("div")]
    assert "sky is off zero" in judged.text


def test_sources_of_the_difference_are_shown_and_marked(subject):
    sources = Table({"x": [1040.2, 1100.0], "y": [2029.8, 2040.0], "snr": [12.5, 30.0], "psf_flux": [100.0, -7.0]})
    sources["polarity"], sources["is_dipole"] = [1, -1], [False, True]
    page = Page(make_page(replace(subject, sources=sources)))
    assert "2 sources: 1 brighter and 1 fainter in the science image, 1 of them dipoles." in page.text
    assert page.text.index("30.0 sigma") < page.text.index("12.5 sigma")
    marks = [circle for circle in page.all("circle") if circle["stroke"] in ("#e31a1c", "#1f78b4")]
    assert len(marks) == 2 * 4
    # The centre of the pixel (40.2, 29.8) in a picture whose first row is the highest.
    assert (marks[0]["cx"], marks[0]["cy"]) == ("40.7", "65.7")


def test_a_difference_alone_has_a_page(subject):
    page = Page(make_page(Subject("d.fits", subject.difference, {})))
    assert list(page.pictures()) == [f"Difference / noise, {SHAPE[1]} x {SHAPE[0]} pixels"]
    assert [heading for heading in ("Noise of the difference", "Candidates", "Numbers") if heading in page.text] == [
        "Noise of the difference"
    ]
