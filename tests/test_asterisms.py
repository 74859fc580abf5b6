"""Alignment by triangles of stars, without any WCS."""

import importlib.util
import logging
from dataclasses import replace

import numpy as np
import pytest

from made_alignments import misaligned_pair, shifted, turned
from psfmatch_cli import asterisms
from psfmatch_cli.align import align
from psfmatch_cli.asterisms import match_asterisms
from psfmatch_cli.config import WarpConfig
from psfmatch_cli.errors import RegistrationError
from psfmatch_cli.star_list import StarList

needs_astroalign = pytest.mark.skipif(
    importlib.util.find_spec("astroalign") is None, reason="the optional package astroalign is not installed"
)
NAMES = ("template", "science")


def stars(positions):
    x, y = np.asarray(positions, float)
    return StarList(x, y, np.full(len(x), 0.02), np.ones(len(x)))


def map_error(made, pair):
    y, x = (v.ravel() for v in np.mgrid[30:470:20, 30:470:20])
    return float(np.sqrt(np.mean(np.sum((np.array(made.pixel_map(x, y)) - pair.move(x, y)) ** 2, axis=0))))


TRANSFORMS = {
    "shift": shifted(150.0, -90.0),
    "turned": turned(130.0, shift=(30.0, 10.0)),
    "scaled": turned(20.0, 1.3, shift=(100.0, 120.0)),
    "mirrored": turned(35.0, flip=True),
    "half a turn": turned(180.0),
}


@needs_astroalign
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("known", [None, (3.0, 4.0)])
def test_images_are_aligned_whatever_their_wcs(name, known):
    pair = misaligned_pair(TRANSFORMS[name], known=known, template_shape=(700, 760))
    made = align(pair.template, pair.science, WarpConfig(registration="asterisms"))
    assert made.method == "asterisms+stars"
    assert map_error(made, pair) < 0.03
    assert made.offsets.distance < 0.02
    assert made.grids.flipped == (name == "mirrored")
    assert made.grids.scale_ratio == pytest.approx(1 / 1.3 if name == "scaled" else 1.0, rel=1e-3)


@needs_astroalign
def test_equal_pixels_that_show_other_stars_are_aligned_unasked(caplog):
    pair = misaligned_pair(turned(90.0), known=None)
    with caplog.at_level(logging.INFO, logger="psfmatch_cli"):
        made = align(pair.template, pair.science, WarpConfig())
    assert made.method == "asterisms+stars"
    assert map_error(made, pair) < 0.03
    assert "do not coincide: by asterisms" in caplog.text


@needs_astroalign
def test_another_field_is_an_error_if_asked_for_and_else_a_warning(caplog):
    pair, other = misaligned_pair(known=None), misaligned_pair(known=None, seed=5)
    with pytest.raises(RegistrationError, match=r"no asterisms of template .* agree"):
        align(other.template, pair.science, WarpConfig(registration="asterisms"))
    with caplog.at_level(logging.WARNING, logger="psfmatch_cli"):
        made = align(other.template, pair.science, WarpConfig())
    assert made.pixel_map is None
    assert made.note.startswith("kept: no asterisms of template")
    assert "do not coincide" in caplog.text


@needs_astroalign
@pytest.mark.parametrize("matrix", [[[0.8, -0.6], [0.6, 0.8]], [[-1.2, 0.5], [0.5, 1.2]]])
def test_the_transform_of_the_positions(matrix):
    rng = np.random.default_rng(8)
    positions = rng.uniform(0, 1000, (2, 60))
    moved = np.array(matrix) @ positions + [[300.0], [-20.0]]
    found = match_asterisms(stars(positions), stars(moved + rng.normal(0, 0.05, moved.shape)), NAMES)
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-3)
    np.testing.assert_allclose(found.offset, [300.0, -20.0], atol=0.5)


@needs_astroalign
@pytest.mark.parametrize("n", [0, 3])
def test_too_few_stars_are_an_error(n):
    few = stars(np.random.default_rng(1).uniform(0, 100, (2, n)))
    with pytest.raises(RegistrationError, match=f"too few stars for asterisms: {n} in template and {n} in science"):
        match_asterisms(few, few, NAMES)


@pytest.fixture
def without_astroalign(monkeypatch):
    monkeypatch.setattr(asterisms, "find_spec", lambda name: None)


@pytest.mark.usefixtures("without_astroalign")
def test_a_missing_package_is_named():
    pair = misaligned_pair(known=None)
    with pytest.raises(
        RegistrationError, match=r"needs the package astroalign; install it with pip .*psfmatch\[align\]"
    ):
        align(pair.template, pair.science, WarpConfig(registration="asterisms"))


@pytest.mark.usefixtures("without_astroalign")
def test_without_the_package_equal_pixels_stay_and_a_warning_names_it(caplog):
    pair = misaligned_pair(turned(90.0), known=None)
    with caplog.at_level(logging.WARNING, logger="psfmatch_cli"):
        made = align(pair.template, pair.science, WarpConfig())
    assert made.pixel_map is None
    assert "psfmatch[align]" in caplog.text


def test_other_shapes_are_an_error_where_asterisms_are_not_asked_for():
    pair = misaligned_pair(known=None, template_shape=(520, 500))
    for registration in ("auto", "wcs", "stars"):
        with pytest.raises(RegistrationError, match="--register asterisms"):
            align(pair.template, pair.science, WarpConfig(registration=registration))
    nameless = replace(pair.template, wcs=None)
    with pytest.raises(RegistrationError, match="--register asterisms"):
        align(nameless, pair.science, WarpConfig(), do_warping=False)
