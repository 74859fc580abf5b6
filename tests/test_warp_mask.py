import numpy as np
import pytest

from psfmatch_cli.exposure import DEFAULT_PLANES
from psfmatch_cli.repair import make_readable
from psfmatch_cli.resample import locate, resampling_kernel
from psfmatch_cli.warp_mask import (
    ALL_LOST,
    MASKED,
    PARTLY_LOST,
    SPREADING,
    MaskBits,
    lost_weight,
    output_mask,
    pad_mask,
)
from sky_fields import make_exposure

SHAPE = (40, 50)
BIT = {name: 1 << bit for name, bit in DEFAULT_PLANES.items()}


def random_template(seed=4):
    """Exposure with a few pixels of every kind."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, np.int32)
    for name in ("BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "NO_DATA"):
        mask[rng.integers(SHAPE[0], size=6), rng.integers(SHAPE[1], size=6)] |= BIT[name]
    return make_exposure(rng.normal(size=SHAPE), None, mask=mask)


def padded_mask(exposure, kernel, mask_reach):
    bits = MaskBits.of(exposure.masked_image, ["EDGE"])
    return pad_mask(exposure.mask, make_readable(exposure), kernel, mask_reach, bits)


@pytest.mark.parametrize(("name", "mask_reach"), [("lanczos3", 1), ("lanczos4", 4), ("bilinear", 1)])
def test_content_of_every_window(name, mask_reach):
    exposure, kernel = random_template(), resampling_kernel(name)
    padded, reach = padded_mask(exposure, kernel, mask_reach), kernel.reach
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-9, 60, 500), rng.uniform(-9, 50, 500)
    content = padded.content.ravel()[locate(kernel, SHAPE, x, y).first]
    pad = 2 * reach
    for value, xs, ys in zip(content, x, y, strict=True):
        # Positions beyond the reach of any pixel are all moved to the same place in the padding.
        i, j = (int(np.clip(np.floor(v), -reach - 1, n + reach - 1)) + pad for v, n in ((xs, 50), (ys, 40)))
        window = np.s_[j - reach + 1 : j + reach + 1, i - reach + 1 : i + reach + 1]
        near = np.s_[j - mask_reach + 1 : j + mask_reach + 1, i - mask_reach + 1 : i + mask_reach + 1]
        spreading = (padded.mask[window] & BIT["EDGE"]) | padded.taint[window]
        assert bool(value & MASKED) == padded.mask[near].any()
        assert bool(value & SPREADING) == spreading.any()
        assert bool(value & PARTLY_LOST) == padded.lost[window].any()
        assert bool(value & ALL_LOST) == padded.lost[window].all()


def test_masks_by_the_rules_one_pixel_at_a_time():
    exposure, kernel = random_template(), resampling_kernel("lanczos3")
    padded = padded_mask(exposure, kernel, 1)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(3, 46, 400), rng.uniform(3, 36, 400)
    x[:50], y[50:90] = np.round(x[:50]), np.round(y[50:90])
    found = output_mask(padded, locate(kernel, SHAPE, x, y), 0.005)
    for value, xs, ys in zip(found, x, y, strict=True):
        assert value == expected_mask(padded, kernel, xs, ys)


def expected_mask(padded, kernel, x, y):
    i, j = int(np.floor(x)), int(np.floor(y))
    weights = np.outer(*(kernel.weights(np.array([v - np.floor(v)]))[:, 0] for v in (y, x)))
    window = np.s_[j - 2 + 6 : j + 4 + 6, i - 2 + 6 : i + 4 + 6]
    mask, taint = padded.mask[window], padded.taint[window]
    used = np.abs(weights) > 1e-6
    bits = np.bitwise_or.reduce(mask[2:4, 2:4][used[2:4, 2:4]])
    tainted = [BIT[name] for name in ("SAT", "BAD", "CR") if np.abs(weights)[taint & BIT[name] != 0].sum() > 0.005]
    if BIT["BAD"] in tainted or BIT["CR"] in tainted:
        bits &= ~BIT["INTRP"]
    return bits | (np.bitwise_or.reduce(mask[used]) & BIT["EDGE"]) | sum(tainted)


def test_lost_weight_is_what_falls_on_missing_pixels():
    exposure, kernel = random_template(), resampling_kernel("lanczos3")
    padded = padded_mask(exposure, kernel, 1)
    x, y = np.random.default_rng(2).uniform(3, 36, (2, 200))
    found, missing = lost_weight(padded, locate(kernel, SHAPE, x, y))
    for p in range(200):
        i, j = int(np.floor(x[p])), int(np.floor(y[p]))
        weights = np.outer(*(kernel.weights(np.array([v - np.floor(v)]))[:, 0] for v in (y[p], x[p])))
        lost = padded.lost[j + 4 : j + 10, i + 4 : i + 10]
        assert found[p] == pytest.approx(weights[~lost].sum(), abs=1e-6)
        assert missing[p] == pytest.approx(np.abs(weights[lost]).sum(), abs=1e-6)
