"""Header cards that say how a file was made and what the match found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.outputs import Card, card_value, provenance_cards
from psfmatch_cli.version import __version__

if TYPE_CHECKING:
    from psfmatch_cli.exposure import Exposure
    from psfmatch_cli.image_psf_match import MatchExposuresResult
    from psfmatch_cli.settings import Settings

#: Card, item of the summary, comment.
_SUMMARY = (
    ("PMCONV", "convolved", "exposure that was convolved"),
    ("PMKSUM", "kernel_sum", "kernel sum at the image centre"),
    ("PMKEXP", "expected_kernel_sum", "kernel sum expected from the zero points"),
    ("PMCOND", "condition_number", "condition number of the spatial system"),
    ("PMNCAND", "n_candidates", "kernel candidates"),
    ("PMNGOOD", "n_used", "candidates in the last fit"),
    ("PMNBAD", "n_rejected", "candidates rejected by the fit"),
    ("PMKSIZE", "kernel_size", "[pix] side of the kernel"),
    ("PMBASIS", "basis", ""),
    ("PMKORDER", "spatial_order", "spatial order of the kernel"),
    ("PMBORDER", "background_order", "spatial order of the background"),
    ("PMFWHMT", "template_fwhm", "[pix] FWHM of the template"),
    ("PMFWHMS", "science_fwhm", "[pix] FWHM of the science image"),
    ("PMSKYW", "sky_width", "width of difference / noise on the sky"),
    ("PMQUAL", "quality", "quality: good, doubtful or bad"),
)
#: The same for the template: card, header card or quantity, comment.
_TEMPLATE = (
    ("PMTOBJ", "OBJECT", "object in the template"),
    ("PMTTEL", "TELESCOP", "telescope of the template"),
    ("PMTINS", "INSTRUME", "instrument of the template"),
    ("PMTFILT", "filter", "filter of the template"),
    ("PMTDATE", "date", "date of the template, as its header has it"),
    ("PMTEXP", "exposure_time", "[s] exposure time of the template"),
)


def match_cards(
    result: MatchExposuresResult,
    inputs: Mapping[str, Path],
    settings: Settings,
    difference: Path | None,
    photometry: str,
) -> list[Card]:
    """Cards of the products of a match.

    Parameters
    ----------
    result : MatchExposuresResult
    inputs : mapping of str to Path
        Template and science file.
    settings : Settings
    difference : Path or None
        Name of the difference image, if there is one.
    photometry : str
        "template" or "science": whose photometric scale the pixels have.
    """
    known = {name: value for name, value in result.summary.items() if card_value(value) is not None}
    values: dict[str, Any] = {card: (known[item], comment) for card, item, comment in _SUMMARY if item in known}
    for n, coefficient in enumerate(result.background_model.coefficients, start=1):
        values[f"PMBG{n}"] = (float(coefficient), f"background coefficient {n}")
    if result.summary["quality_reasons"]:
        values["PMQWHY"] = ("; ".join(result.summary["quality_reasons"]), "")
    return [
        *provenance_cards(__version__, inputs, settings.model_dump(), values),
        *_template_cards(result.warped_exposure),
        *_zero_point_cards(result),
        *_compatible_cards(result, inputs, difference, photometry),
    ]


def _template_cards(template: Exposure) -> list[Card]:
    """What the template is an image of, by what and when; the science image has the usual cards."""
    header, quantities = template.header or {}, template.facts.quantities
    of_cards = {name: header.get(name) for name in ("OBJECT", "TELESCOP", "INSTRUME")}
    of_facts = {name: quantities[name].value for name in ("date", "exposure_time") if name in quantities}
    known = {**of_cards, **of_facts, "filter": template.filter}
    return [
        (card, known[name], comment)
        for card, name, comment in _TEMPLATE
        if isinstance(known.get(name), (str, int, float)) and known[name] != ""
    ]


def _zero_point_cards(result: MatchExposuresResult) -> list[Card]:
    """Magnitudes of one count of both images, where known."""
    counts = {"PMTZP": result.warped_exposure.fluxmag0, "PMSZP": result.matched_exposure.fluxmag0}
    comments = {"PMTZP": "[mag] of one count of the template", "PMSZP": "[mag] of one count of the science image"}
    return [
        (card, 2.5 * math.log10(value), comments[card])
        for card, value in counts.items()
        if value is not None and 0 < value < math.inf
    ]


def _compatible_cards(
    result: MatchExposuresResult, inputs: Mapping[str, Path], difference: Path | None, photometry: str
) -> list[Card]:
    """The cards of hotpants, whose IMAGE is the science image, for scripts that read them."""
    words = {"template": "TEMPLATE", "science": "IMAGE"}
    named = {"TARGET": inputs["science"], "TEMPLATE": inputs["template"], "DIFFIM": difference}
    comments = {"TARGET": "science file", "TEMPLATE": "template file", "DIFFIM": "difference file"}
    return [
        *((card, path.name, comments[card]) for card, path in named.items() if path is not None),
        ("CONVOL00", words[result.convolved], "image that was convolved"),
        ("KSUM00", result.summary["kernel_sum"], "kernel sum at the image centre"),
        ("PHOTNORM", words[photometry], "image whose photometric scale this has"),
    ]


def history(command: str, arguments: list[str], settings: Settings) -> list[str]:
    """HISTORY lines: the command line, and the settings that are not the default."""
    from psfmatch_cli.settings import Settings as All
    from psfmatch_cli.settings import keys, value_of

    default = All()
    changed = [
        f"psfmatch setting {key} = {value_of(settings, key)}"
        for key in keys()
        if value_of(settings, key) != value_of(default, key)
    ]
    return [f"psfmatch {__version__} {' '.join(arguments) or command}", *changed]


def adaptation_history(adaptations: Iterable[str]) -> list[str]:
    """HISTORY lines of what was adapted to few candidates."""
    return [f"psfmatch adaptation: {text}" for text in adaptations]
