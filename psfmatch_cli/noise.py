"""The variance of an image that comes without a variance plane.

For counts with gain g (e-/count) and read noise r (e-) the variance of a pixel is
``max(signal - pedestal + subtracted sky, 0) / g + (r / g)^2``. Two things make this usable on real files:

* the sky noise is measured, and decides. A gain from the header is a claim: cameras write their gain
  *setting* there, and averaged or resampled images keep the gain of the raw frame.
* the signal is not the pixel itself, whose own noise would make low pixels look precise and pull every
  weighted sum down. It is the smooth background, plus what stands significantly above it. Measured on
  Gaussian stars of 200, 2000 and 20000 electrons, FWHM 3 pixels, on a sky of 25 electrons: fluxes weighted
  by this variance are 2.5, 0.7 and 0.1 % low, those weighted by each pixel's own 11, 1.5 and 0.2 %.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psfmatch_cli.detector import DetectorTerms
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import NoiseModel

log = logging.getLogger(__name__)

#: Predicted and measured sky noise may differ by this factor before the prediction is not believed.
TRUSTED_RATIO = 1.5
#: A sky of fewer than this many sigma may be what a background subtraction left over; 5 sigma of Poisson
#: noise is 25 electrons.
SKY_SIGMAS = 5.0
#: Gains that the ratio of sky and noise may imply. Below 0.05 e-/count no full well fits 16 bits; above
#: 100, the mean of 50 frames at 2 e-/count, the numbers are fluxes in some unit rather than counts.
PLAUSIBLE_GAIN = (0.05, 100.0)
#: Standard deviation of a unit Gaussian cut at 3 sigma.
CUT_GAUSSIAN_WIDTH = 0.98658
#: Counts whose square, added up over a background cell, still is a 32-bit number.
LARGEST_SQUARED = 1e17


@dataclass(frozen=True)
class Sky:
    """The sky of an image.

    Parameters
    ----------
    level : float
        Median of the sky pixels, counts.
    sigma : float
        Their noise, counts; 0 where the image has none.
    background : ndarray, (H, W), float32
        Smooth background, counts.
    """

    level: float
    sigma: float
    background: NDArray[np.float32]

    @property
    def present(self) -> bool:
        """Whether the image still holds its sky, rather than the remainder of a subtracted one."""
        return self.level > SKY_SIGMAS * self.sigma > 0


def measure_sky(image: NDArray[np.float32], bad: NDArray[np.bool_], mesh: int = 64) -> Sky:
    """Level, noise and smooth background of the sky.

    The noise is the clipped standard deviation of the pixels away from sources, after subtraction of a
    background mesh: a gradient does not count, noise that is correlated between neighbours does.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Counts.
    bad : ndarray, (H, W), bool
        Pixels that are left out; so are those beyond `LARGEST_SQUARED`.
    mesh : int, optional
        Side of the background cells, pixels.

    Raises
    ------
    InputError
        If every pixel is bad.
    """
    import sep

    bad = bad | (np.abs(image) > LARGEST_SQUARED)
    if bad.all():
        raise InputError("no usable pixel is left to measure the sky on")
    filled = np.where(bad, np.float32(0), image).astype(np.float32)
    background = sep.Background(filled, mask=bad, bw=mesh, bh=mesh).back()
    left_out = bad | _source_pixels(filled - background, bad)
    if left_out.mean() < 0.9:
        background = sep.Background(filled, mask=left_out, bw=mesh, bh=mesh).back()
    else:
        left_out = bad
    kept = ~left_out
    _, sigma = clipped_center_and_width((image - background)[kept])
    return Sky(float(np.median(_thinned(image[kept]))), sigma, background)


def clipped_center_and_width(values: NDArray) -> tuple[float, float]:
    """Mean and standard deviation of the Gaussian core of some values, by iterated clipping at 3 sigma.

    The width lost to the cut is put back. Unlike a median deviation this does not jump by whole units on
    integer data. The width is 0 where more than half of the values are equal.
    """
    values = _thinned(values).astype(np.float64)
    center = float(np.median(values))
    width = 1.4826 * float(np.median(np.abs(values - center)))
    for _ in range(20):
        kept = values[np.abs(values - center) <= 3.0 * width]
        before, center, width = width, float(kept.mean()), float(kept.std()) / CUT_GAUSSIAN_WIDTH
        if abs(width - before) <= 1e-4 * before:
            break
    return center, width


def _thinned(values: NDArray) -> NDArray:
    """About a million of the values, evenly spaced: enough for a width to 0.1 %."""
    return values[:: 1 + len(values) // 1_000_000]


def _source_pixels(residual: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of sources and their surroundings: 4 sigma in the smoothed image, grown by 4 pixels."""
    from scipy import ndimage

    smooth = _smooth(np.where(bad, np.float32(0), residual))
    center, width = clipped_center_and_width(smooth[~bad])
    return ndimage.binary_dilation(smooth > center + 4.0 * width, np.ones((3, 3), bool), iterations=4)


def _smooth(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image smoothed with weights 1-2-1 along both axes; its ends count as continued."""
    for axis in (0, 1):
        lines = np.moveaxis(image, axis, 0)
        if len(lines) == 1:
            continue
        smooth = np.empty_like(image)
        out = np.moveaxis(smooth, axis, 0)
        np.add(lines[:-2], lines[2:], out=out[1:-1])
        out[0], out[-1] = lines[0] + lines[1], lines[-2] + lines[-1]
        out += lines
        out += lines
        out *= 0.25
        image = smooth
    return image


@dataclass(frozen=True)
class VarianceLaw:
    """``variance = max(light, 0) / gain + constant``; without a gain only the constant.

    Parameters
    ----------
    gain : float or None
        Effective gain, e-/count.
    constant : float
        Counts squared.
    offset : float
        Added to the image to get the light, counts.
    sources : mapping of str to str
        Where gain and constant came from.
    """

    gain: float | None
    constant: float
    offset: float = 0.0
    sources: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, counts: ArrayLike) -> NDArray:
        """Variance at a level of counts in the image, counts squared, in the shape of `counts`."""
        counts = np.asarray(counts)
        if self.gain is None:
            return counts * 0.0 + self.constant
        variance = np.maximum(counts + self.offset, 0.0)
        variance /= self.gain
        variance += self.constant
        return variance

    def because(self, **sources: str) -> VarianceLaw:
        """The same law with these sources noted."""
        return replace(self, sources={**self.sources, **sources})


def choose_law(terms: DetectorTerms, sky: Sky, where: str) -> VarianceLaw:
    """The variance law that agrees with the measured sky noise.

    * An option's gain is obeyed. Read noise or sky that nobody stated is made up for by a larger constant.
    * A header's gain is believed if it predicts the sky noise within `TRUSTED_RATIO`. A prediction that is
      too low misses a constant term (read noise), one that is too high is scaled: the image was averaged
      or resampled. Otherwise a warning says both numbers.
    * Without a gain, sky over sky variance is the gain, if the image holds its sky; else the variance is
      constant.

    Parameters
    ----------
    terms : DetectorTerms
        What is stated.
    sky : Sky
        What is measured.
    where : str
        Name of the image, for messages.

    Raises
    ------
    InputError
        If nothing gives a positive variance.
    """
    if terms.gain is None:
        return _law_from_sky(terms, sky, where)
    constant = terms.constant(terms.gain)
    law = VarianceLaw(terms.gain, constant or 0.0, terms.offset, terms.sources)
    predicted, measured = float(law(sky.level)), sky.sigma**2
    if measured == 0 and predicted == 0:
        raise InputError(
            f"{where}: the sky has no noise and no level; give the read noise, or a variance or noise file"
        )
    if measured == 0:
        return law
    if terms.gain_is_option:
        complete = constant is not None and (sky.present or terms.sky_level is not None)
        return _obeyed_law(law, predicted, measured, complete, where)
    return _checked_law(law, terms, sky, predicted, where)


def _obeyed_law(law: VarianceLaw, predicted: float, measured: float, complete: bool, where: str) -> VarianceLaw:
    """The law of an option's gain."""
    if predicted < measured and not complete:
        return _raised(law, measured - predicted)
    if not agree(predicted, measured):
        _warn_disagreement(law, predicted, measured, where, "the option is obeyed")
    return law


def _checked_law(law: VarianceLaw, terms: DetectorTerms, sky: Sky, predicted: float, where: str) -> VarianceLaw:
    """The law of a header's gain, made to agree with the sky noise, or replaced."""
    measured = sky.sigma**2
    if not agree(predicted, measured) and (sky.present or predicted > measured):
        _warn_disagreement(law, predicted, measured, where, "the measured noise is used")
        return _law_from_sky(replace(terms, gain=None), sky, where)
    if predicted <= measured:
        return _raised(law, measured - predicted)
    scale = predicted / measured
    return replace(law, gain=law.gain * scale, constant=law.constant / scale).because(
        gain=f"{law.sources['gain']}, times {scale:.3f} to agree with the measured sky noise"
    )


def agree(predicted: float, measured: float) -> bool:
    """Whether two variances differ by less than `TRUSTED_RATIO` in sigma."""
    return 1 / TRUSTED_RATIO**2 <= predicted / measured <= TRUSTED_RATIO**2


def _raised(law: VarianceLaw, missing: float) -> VarianceLaw:
    return replace(law, constant=law.constant + missing).because(constant="raised to the measured sky noise")


def _warn_disagreement(law: VarianceLaw, predicted: float, measured: float, where: str, then: str) -> None:
    log.warning(
        "%s: gain %.4g e-/count (%s) predicts a sky noise of %.4g counts, measured is %.4g; %s",
        where,
        law.gain,
        law.sources["gain"],
        math.sqrt(predicted),
        math.sqrt(measured),
        then,
    )


def _law_from_sky(terms: DetectorTerms, sky: Sky, where: str) -> VarianceLaw:
    """Poisson law through the measured sky level and noise, else the constant variance of the sky."""
    variance = sky.sigma**2
    if variance == 0:
        raise InputError(
            f"{where}: the sky has no noise to measure; give a variance or noise file, or gain and read noise"
        )
    level = sky.level + terms.offset
    if sky.present or terms.sky_level is not None:
        # Solves level / g + (r / g)^2 = variance for g.
        dark = terms.dark_variance or 0.0
        noise = terms.read_noise or 0.0 if terms.dark_variance is None else 0.0
        lit = variance - dark
        gain = (level + math.sqrt(level**2 + 4.0 * lit * noise**2)) / (2.0 * lit) if lit > 0 and level > 0 else 0.0
        if PLAUSIBLE_GAIN[0] < gain < PLAUSIBLE_GAIN[1]:
            law = VarianceLaw(gain, dark + (noise / gain) ** 2, terms.offset, terms.sources)
            return law.because(gain="estimated from sky level and sky noise")
    return VarianceLaw(None, variance, sources={"variance": "constant, the measured sky noise"})


def variance_plane(
    image: NDArray[np.float32], bad: NDArray[np.bool_], sky: Sky, law: VarianceLaw
) -> NDArray[np.float32]:
    """Variance of every pixel from a law, free of the pixel's own noise.

    The light of a pixel is taken from the smooth background where nothing stands out, from the 1-2-1
    smoothed image where that is 3 sigma above the background, and from the pixel where it is 20 sigma above.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Counts.
    bad : ndarray, (H, W), bool
        Pixels whose value means nothing.
    sky : Sky
        Its background.
    law : VarianceLaw
        Variance as a function of counts.

    Returns
    -------
    ndarray, (H, W), float32
    """
    if law.gain is None:
        return np.full(image.shape, law.constant, np.float32)
    variance = law(sky.background)
    excess = image - sky.background
    excess[bad] = 0
    smooth = _smooth(excess)
    # 0.375 is the sum of the squared weights of 1-2-1 in two dimensions, taken to the root.
    at = np.flatnonzero(smooth > 3.0 * 0.375 * np.sqrt(variance.min()))
    background, signal, own = (plane.ravel()[at] for plane in (sky.background, smooth, excess))
    sigma = np.sqrt(variance.ravel()[at])
    signal[signal <= 3.0 * 0.375 * sigma] = 0
    signal = np.where(own > 20.0 * sigma, own, signal)
    variance.ravel()[at] = law(background + signal)
    return variance


def noise_model(law: VarianceLaw, terms: DetectorTerms, sky: Sky) -> NoiseModel:
    """What the variance was made of, for the metadata."""
    return NoiseModel(
        origin="sky" if law.gain is None else "gain",
        gain=law.gain,
        read_noise=terms.read_noise if law.gain is not None else None,
        sky_level=sky.level + terms.offset,
        sources=dict(law.sources),
    )
