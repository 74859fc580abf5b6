"""From the planes that files hold to complete ones: the mask and the variance that no file gave."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from psfmatch_cli import defects, noise
from psfmatch_cli.detector import DetectorTerms, detector_terms
from psfmatch_cli.errors import InputError
from psfmatch_cli.pixels import Pixels
from psfmatch_cli.read_options import ReadOptions
from psfmatch_cli.units import parse_unit

log = logging.getLogger(__name__)

#: Variance of a noise-free pixel, relative to the largest of its image: small, but no division by it overflows.
NOISE_FREE = np.float32(1e-6)


def complete(pixels: Pixels, options: ReadOptions) -> None:
    """Find what the mask does not say and make the variance that no file gave.

    Parameters
    ----------
    pixels : Pixels
        Filled in.
    options : ReadOptions
        Gain, saturation... where the user knows them.

    Raises
    ------
    InputError
        If every pixel is masked, or there is nothing to make a variance of.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        _complete(pixels, options)


def _complete(pixels: Pixels, options: ReadOptions) -> None:
    _refuse_empty_variance(pixels, options)
    _accept_noise_free(pixels)
    explicit = _explicit_saturation(pixels, options)
    if explicit is not None:
        _flag_saturation(pixels, explicit)
    if pixels.complete_mask and pixels.variance is not None and not pixels.relative_weight:
        return
    if not pixels.complete_mask and not pixels.knows_coverage:
        count = pixels.flag(defects.blank_pixels(pixels.image) & pixels.usable(), "NO_DATA")
        if count:
            log.info("%s: %d blank pixels (exactly 0) are NO_DATA", pixels.where, count)
    if not pixels.usable().any():
        raise InputError(f"{pixels.where}: every pixel is masked or not finite")
    sky = noise.measure_sky(pixels.image, ~pixels.usable())
    if not pixels.complete_mask:
        _flag_defects(pixels, sky, search_saturation=explicit is None and not pixels.knows_saturation)
    if pixels.variance is None:
        _make_variance(pixels, sky, options)
    elif pixels.relative_weight:
        _scale_weights(pixels, sky)
        _add_source_light(pixels, sky, options)


def _is_useful(pixels: Pixels) -> bool:
    """Whether any finite pixel has a positive finite variance."""
    with np.errstate(invalid="ignore"):
        # A sparse look settles nearly every image.
        for step in (16, 1):
            variance = pixels.variance[::step, ::step]
            if ((variance > 0) & (variance < np.inf) & np.isfinite(pixels.image[::step, ::step])).any():
                return True
    return False


def _refuse_empty_variance(pixels: Pixels, options: ReadOptions) -> None:
    """A variance without one usable value is dropped if the user gives a gain, else an error."""
    stated = options.gain is not None or options.read_noise is not None
    if pixels.variance is None:
        return
    if _is_useful(pixels):
        if stated:
            log.warning("%s: gain and read noise are not used, the variance is given", pixels.where)
        return
    if not stated:
        raise InputError(f"{pixels.where}: the given variance has no positive value; give gain and read noise")
    log.warning("%s: the given variance has no positive value; using gain and read noise", pixels.where)
    pixels.variance = None


def _accept_noise_free(pixels: Pixels) -> None:
    """Make the zeros of a variance that is just the light of the image positive: a simulated image without sky."""
    if pixels.variance is None or not (pixels.variance == 0).any():
        return
    light = np.maximum(pixels.image, 0)
    positive = light > 0
    if not positive.any() or not np.allclose(pixels.variance, light, rtol=1e-5, atol=0, equal_nan=True):
        return
    log.warning(
        "%s: the variance is the image itself, as of a simulation without sky and noise; its zeros count as good",
        pixels.where,
    )
    pixels.variance = np.maximum(pixels.variance, NOISE_FREE * np.float32(pixels.variance.max()))
    pixels.note(variance="that of the image's own light, without sky")


def _explicit_saturation(pixels: Pixels, options: ReadOptions) -> defects.Saturation | None:
    """The level of the option, or of the card that the user named: obeyed, whatever the mask says."""
    if options.saturation is not None:
        return defects.Saturation(options.saturation, "option")
    found = pixels.cards.number("saturation") if "saturation" in pixels.cards.named else None
    return None if found is None else defects.Saturation(found.value, found.source)


def _flag_defects(pixels: Pixels, sky: noise.Sky, *, search_saturation: bool) -> None:
    usable = pixels.usable()
    if search_saturation:
        found = defects.find_saturation(pixels.image, usable, pixels.cards, sky)
        if found is not None:
            _flag_saturation(pixels, found)
        else:
            pixels.note(saturation="neither stated nor seen")
    count = pixels.flag(defects.dead_pixels(pixels.image, sky) & usable, "BAD")
    lines = pixels.flag(defects.dead_lines(pixels.image, ~usable, sky) & usable, "BAD")
    hot = pixels.flag(defects.hot_lines(pixels.image, ~usable, sky) & usable, "BAD")
    if count or lines or hot:
        log.info(
            "%s: %d pixels are BAD: more than %g sigma below the sky; %d and %d in low and high pieces of lines",
            pixels.where,
            count,
            defects.DEAD_SIGMAS,
            lines,
            hot,
        )


def _flag_saturation(pixels: Pixels, found: defects.Saturation) -> None:
    count = pixels.flag(defects.saturated_pixels(pixels.image, found.level), "SAT")
    log.info("%s: saturation at %.6g counts (%s): %d pixels are SAT", pixels.where, found.level, found.source, count)
    pixels.noise = replace(pixels.noise, saturation=found.level)
    pixels.note(saturation=found.source)


def _terms(pixels: Pixels, sky: noise.Sky, options: ReadOptions) -> DetectorTerms:
    """What is stated about the noise."""
    terms = detector_terms(
        pixels.cards,
        sky.level,
        claims=pixels.claims,
        gain=options.gain,
        read_noise=options.read_noise,
        sky_level=options.sky_level,
        pedestal=options.pedestal,
    )
    if terms.remark:
        log.info("%s: %s", pixels.where, terms.remark)
    return terms


def _make_variance(pixels: Pixels, sky: noise.Sky, options: ReadOptions) -> None:
    terms = _terms(pixels, sky, options)
    law = noise.choose_law(terms, sky, pixels.where)
    pixels.variance = noise.variance_plane(pixels.image, ~pixels.usable(), sky, law)
    if not _is_useful(pixels):
        raise InputError(
            f"{pixels.where}: no pixel has a positive finite variance; the counts are too small or too large "
            "for 32 bits: multiply the image by a constant"
        )
    made = noise.noise_model(law, terms, sky)
    pixels.noise = replace(made, saturation=pixels.noise.saturation, sources={**pixels.noise.sources, **made.sources})


def _scale_weights(pixels: Pixels, sky: noise.Sky) -> None:
    """Weights that do not predict the sky noise are relative (exposure times): scale them so that they do.

    The noise is that of the sky in units of the predicted one, as it may differ from place to place.
    """
    usable = pixels.usable() & np.isfinite(pixels.variance) & (pixels.variance > 0)
    predicted = np.sqrt(np.where(usable, pixels.variance, np.float32(1)))
    ratio = noise.measure_sky((pixels.image - sky.background) / predicted, ~usable).sigma
    if ratio == 0 or noise.agree(1.0, ratio**2):
        return
    typical = float(np.median(predicted[usable]))
    log.warning(
        "%s: the weights predict a sky noise of %.4g counts, measured is %.4g; taken as relative weights and scaled",
        pixels.where,
        typical,
        typical * ratio,
    )
    pixels.variance *= np.float32(ratio**2)
    pixels.note(scale="relative weights, scaled to the measured sky noise")


def _add_source_light(pixels: Pixels, sky: noise.Sky, options: ReadOptions) -> None:
    """Add the photon noise of what stands above the sky, which the weights of coadds leave out."""
    unit = parse_unit(pixels.cards.header.get("BUNIT"))
    terms = _terms(pixels, sky, options)
    if terms.gain is None or sky.sigma == 0 or unit.kind in ("flux", "surface brightness"):
        return
    law = noise.VarianceLaw(terms.gain, sky.sigma**2, -sky.level)
    usable = pixels.usable() & np.isfinite(pixels.variance)
    light = noise.variance_plane(pixels.image, ~usable, sky, law) - law(sky.background)
    pixels.variance[usable] += np.maximum(light[usable], 0).astype(np.float32)
    pixels.note(light=f"sources' light over a gain of {terms.gain:.4g} e-/count ({terms.sources['gain']})")
