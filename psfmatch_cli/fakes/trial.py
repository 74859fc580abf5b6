"""The trial in order: subtract, inject, subtract again, detect in both, compare."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.diff_detect import find_difference_sources
from psfmatch_cli.errors import MissingPsfError
from psfmatch_cli.exposure import DETECTED_PLANES, Exposure
from psfmatch_cli.fakes.compare import fakes_table, with_origin
from psfmatch_cli.fakes.inject import Injected, gain_of, inject
from psfmatch_cli.fakes.place import Places, draw_fluxes, draw_places, is_lit
from psfmatch_cli.fakes.score import N_BINS, bins_table, expected_peaks, summary_of
from psfmatch_cli.psf import Psf
from psfmatch_cli.results import SubtractExposuresResult
from psfmatch_cli.settings import Settings
from psfmatch_cli.whitened import psf_model_of

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

#: Pixels with injected light of more than this part of their noise are no sky.
LIT = 0.1
#: Makes the difference of a template and a science image, with the arguments of the task's methods given by name.
Subtraction = Callable[..., SubtractExposuresResult]


@dataclass(frozen=True)
class Trial:
    """What a trial gave.

    Parameters
    ----------
    fakes : Table
        The injected sources; columns of `psfmatch_cli.fakes.compare`.
    bins : Table
        Efficiency and purity; columns of `psfmatch_cli.fakes.score`.
    detections : Table
        Sources of the difference with the injected ones; ``is_fake`` and ``was_there`` tell where they are from.
    summary : dict
        Numbers of the whole, and of each sample in an entry of its name.
    """

    fakes: Table
    bins: Table
    detections: Table
    summary: dict[str, Any]


def run_trial(
    template: Exposure,
    science: Exposure,
    subtraction: Subtraction,
    settings: Settings | None = None,
    *,
    psf: Psf | None = None,
) -> Trial:
    """Inject sources into a science image, subtract, detect, and compare with what was put in.

    Hundreds of new sources at once happen in no real image, and must not decide what one of them would meet: the second
    subtraction takes the PSF, the FWHMs and the sources of the first one, but for those with an injected source in
    their stamps, and injected light is no sky to it.

    Parameters
    ----------
    template, science : Exposure
        Not changed.
    subtraction : callable
        The one to try, with the arguments of `ImagePsfMatchTask.subtract_exposures`.
    settings : Settings, optional
    psf : Psf, optional
        Of the injected sources; default: that of the science image, modelled on its stars where it has none.

    Raises
    ------
    MissingPsfError
        If the science image has no PSF and no stars to model it on.
    InputError
        If no place is clear, and as `psfmatch_cli.diff_detect.find_difference_sources`.
    """
    settings = settings or Settings()
    model = psf_model_of(science)
    psf = psf or model
    if psf is None:
        raise MissingPsfError(f"{science.name}: sources are injected with its PSF, and there is none; give it (--psf)")
    config, rng = settings.fakes, np.random.default_rng(settings.fakes.seed)
    place_rng, flux_rng, photon_rng = rng.spawn(3)
    first = subtraction(template, science)
    difference, before = _detected(first, settings)
    occupied = np.column_stack([before["x"], before["y"]])
    stamps = boxes_of(first.kernel_cell_set.table[first.kernel_cell_set.table["status"] == "used"])
    places = draw_places(difference, science, occupied, stamps, config, settings.detection, place_rng)
    gain, gain_from = gain_of(science)
    scale = counts_scale(first)
    flux, _ = draw_fluxes(difference, difference.psf, places, scale, gain, config, flux_rng)
    injected = inject(science, psf, places.x, places.y, flux, gain=gain, rng=photon_rng)
    log.info("%s: %d sources injected, %d of them on galaxies", science.name, len(flux), places.on_galaxy.sum())
    second = subtraction(template, _marked(injected, difference, model), **held(first, places))
    compared, after = _detected(second, settings)
    radius = config.match_radius * difference.psf.fwhm
    fakes = fakes_table(compared, places, flux, counts_scale(second), after, radius)
    detections = with_origin(after, before, fakes, radius)
    threshold = settings.difference_sources.threshold
    edges = np.geomspace(config.min_snr, config.max_snr, N_BINS + 1)
    bins = bins_table(fakes, detections, before, edges, threshold, partial(expected_peaks, difference))
    about = {"gain": gain, "gain_from": gain_from, "n_saturated": injected.n_saturated, "psf_from": psf.origin}
    numbers = _numbers(difference, before, detections, threshold)
    return Trial(fakes, bins, detections, {**about, **numbers, **summary_of(fakes)})


def _detected(result: SubtractExposuresResult, settings: Settings) -> tuple[Exposure, Table]:
    """The difference, and its sources of both signs."""
    config = settings.difference_sources.model_copy(update={"polarity": "both"})
    difference = result.subtracted_exposure
    return difference, find_difference_sources(difference, config)


def boxes_of(candidates: Table) -> NDArray[np.int64]:
    """Boxes x0, y0, x1, y1 of the stamps of candidates, (k, 4)."""
    return np.column_stack([np.asarray(candidates[f"box_{end}"], np.int64) for end in ("x0", "y0", "x1", "y1")])


def held(result: SubtractExposuresResult, places: Places) -> dict[str, Any]:
    """What the next subtraction is to take as this one found it, by the names of its arguments."""
    table = result.kernel_cell_set.table
    lit = is_lit(boxes_of(table), np.column_stack([places.x, places.y]))
    widths = {f"{role}_fwhm_pix": result.summary[f"{role}_fwhm"] for role in ("template", "science")}
    return {"candidate_list": table[~lit], **widths}


def counts_scale(result: SubtractExposuresResult) -> float:
    """Counts of a difference per count of its science image."""
    if result.normalize == "science":
        return 1.0
    kernel_sum = result.psf_matching_kernel.center_sum
    return 1.0 / kernel_sum if result.convolved == "template" else kernel_sum


def _marked(injected: Injected, difference: Exposure, psf: Psf | None) -> Exposure:
    """The science image with its PSF, and with all sources marked, those found before and the injected ones."""
    masked = injected.exposure.masked_image.with_planes(DETECTED_PLANES).without_planes(DETECTED_PLANES)
    mask = masked.mask.copy()
    for name in DETECTED_PLANES:
        mask[difference.masked_image.flagged([name])] |= np.int32(masked.bits([name]))
    lit = injected.light > LIT * np.sqrt(np.maximum(masked.variance, 0))
    mask[lit] |= np.int32(masked.bits(["DETECTED"]))
    return injected.exposure.with_pixels(replace(masked, mask=mask), psf=psf)


def _numbers(difference: Exposure, before: Table, detections: Table, threshold: float) -> dict[str, Any]:
    """Counts of what is no injected source."""
    sign, new = np.asarray(before["polarity"]), ~np.asarray(detections["is_fake"] | detections["was_there"], bool)
    return {
        "threshold": threshold,
        "significance_width": float(before.meta["FLUXWIDTH"]),
        "n_positive_before": int((sign > 0).sum()),
        "n_negative_before": int((sign < 0).sum()),
        "n_new_positive": int((new & (np.asarray(detections["polarity"]) > 0)).sum()),
        "n_new_negative": int((new & (np.asarray(detections["polarity"]) < 0)).sum()),
        "n_gaussian": expected_peaks(difference, threshold),
    }
