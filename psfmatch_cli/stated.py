"""What the headers of an opened file state: the quantities of the exposure, and its PSF."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from psfmatch_cli.archive import archived_filter, archived_fluxmag0, archived_psf, archived_psf_sigma
from psfmatch_cli.detector import detector_terms
from psfmatch_cli.errors import InputError
from psfmatch_cli.facts import Fact, FileFacts
from psfmatch_cli.fitsfile import ReadableHeader, list_hdus, parse_path, read_image
from psfmatch_cli.keywords import QUANTITIES, Cards, Found, card_number
from psfmatch_cli.layouts import origin_from_header
from psfmatch_cli.opened import Opened
from psfmatch_cli.psf import FWHM_PER_SIGMA, Psf, VaryingPsf, gaussian_psf
from psfmatch_cli.psf_file import read_psf_file, read_psf_table
from psfmatch_cli.psf_header import stated_fwhm
from psfmatch_cli.units import parse_unit
from psfmatch_cli.widths import is_width
from psfmatch_cli.zero_points import header_zero_point


def stated_quantities(opened: Opened) -> dict[str, Fact]:
    """Every quantity that an option, the survey, an attached object or a card states.

    Raises
    ------
    InputError
        If a card that was named for the FWHM cannot be one.
    """
    cards = opened.cards
    found: dict[str, Fact | None] = {
        **_noise(opened),
        "saturation": _option(opened, "saturation", "counts") or _fact(cards.number("saturation"), "counts"),
        "exposure_time": _fact(cards.number("exposure_time"), "s"),
        "zero_point": _zero_point(opened),
        "fwhm": _fwhm(opened),
        "filter": _filter(opened),
        "date": _fact(cards.text("date")),
        "unit": _fact(cards.text("unit")),
    }
    return {name: fact for name, fact in found.items() if fact is not None}


def _fact(found: Found | None, unit: str = "") -> Fact | None:
    return None if found is None else Fact(found.value, found.source, unit)


def _option(opened: Opened, name: str, unit: str = "") -> Fact | None:
    value = getattr(opened.options, name)
    return None if value is None else Fact(value, "option", unit)


def _noise(opened: Opened) -> dict[str, Fact]:
    """Gain, read noise, subtracted sky: what would make a variance."""
    options = {name: getattr(opened.options, name) for name in ("gain", "read_noise", "sky_level")}
    terms = detector_terms(opened.cards, -math.inf, claims=opened.claims, **options)
    values = {"gain": terms.gain, "read_noise": terms.read_noise, "dark_variance": terms.dark_variance}
    return {
        name: Fact(value, terms.sources[name], QUANTITIES[name].unit)
        for name, value in values.items()
        if value is not None
    }


def _zero_point(opened: Opened) -> Fact | None:
    """Magnitude of one count: the option's, that of the attached calibration, of FLUXMAG0, or of another card."""
    if opened.options.zero_point is not None:
        return _option(opened, "zero_point", "mag")
    stored = _stored_fluxmag0(opened)
    if stored is not None:
        return Fact(2.5 * math.log10(stored[0]), stored[1], "mag")
    unit = parse_unit(opened.cards.header.get("BUNIT"))
    area = None if opened.geometry is None else opened.geometry.pixel_area
    return header_zero_point(opened.cards, unit, area, opened.layout.name)


def _stored_fluxmag0(opened: Opened) -> tuple[float, str] | None:
    """Counts of a magnitude 0 source that the file holds as such, and where."""
    if "zero_point" in opened.cards.named:
        return None
    archive = opened.archive
    stored = archive.attached(ReadableHeader(opened.hdus[0].header), "PHOTOCALIB") if archive is not None else None
    if stored is not None:
        counts, source = archived_fluxmag0(stored), "attached PhotoCalib"
    else:
        counts, source = card_number(opened.cards.header, "FLUXMAG0"), "header FLUXMAG0"
    return None if counts is None else (counts, source)


def stated_fluxmag0(opened: Opened, zero_point: Fact | None) -> float | None:
    """Counts of a magnitude 0 source: the stored number to its last bit where there is one."""
    stored = _stored_fluxmag0(opened) if opened.options.zero_point is None else None
    if stored is not None:
        return stored[0]
    return None if zero_point is None else 10.0 ** (0.4 * zero_point.value)


def _filter(opened: Opened) -> Fact | None:
    """Filter name from the option, the attached label, or a card."""
    if opened.options.band is not None:
        return Fact(opened.options.band, "option")
    archive = opened.archive
    stored = archive.attached(ReadableHeader(opened.hdus[0].header), "FILTER") if archive is not None else None
    name = archived_filter(stored) if stored is not None else None
    if name is not None:
        return Fact(name, "attached FilterLabel")
    found = opened.cards.text("filter")
    if found is None:
        return None if "filter" in opened.cards.named else _filter_of_wheels(opened.cards)
    # Pan-STARRS adds the number of the glass: r.00000.
    value = found.value.partition(".")[0] if found.cards[0].startswith("FPA.") else found.value
    return Fact(value, found.source)


def _filter_of_wheels(cards: Cards) -> Fact | None:
    """The filter of a camera with several wheels, of which all but one are clear."""
    wheels = {name: str(cards.header.get(name, "")).strip() for name in ("FILTER1", "FILTER2", "FILTER3")}
    chosen = {name: value for name, value in wheels.items() if value and not value.upper().startswith("CLEAR")}
    return Fact("+".join(chosen.values()), f"header {', '.join(chosen)}") if chosen else None


def _fwhm(opened: Opened) -> Fact | None:
    """FWHM that a header states, pixels; never that of a PSF image."""
    scale = None if opened.geometry is None else opened.geometry.pixel_scale
    found = stated_fwhm(opened.cards, scale, opened.layout.name, opened.where)
    if found is None and "fwhm" in opened.cards.named:
        raise InputError(
            f"{opened.where}: the card {opened.cards.named['fwhm']}, named for the FWHM, is no plausible width in "
            "pixels, nor one in arcsec with the pixel scale of a WCS; give the FWHM in pixels"
        )
    if found is None and opened.archive is not None:
        sigma = archived_psf_sigma(opened.archive)
        if sigma is not None and is_width(FWHM_PER_SIGMA * sigma):
            return Fact(FWHM_PER_SIGMA * sigma, f"attached statistics, PSF sigma {sigma:.4g} px", "pix")
    return found


def stated_psf(opened: Opened, fwhm: Fact | None) -> Psf | None:
    """PSF of an option, of a card that was named, of an image in or beside the file, of an attached object; or None.

    Raises
    ------
    InputError
        If a PSF file cannot be used.
    """
    options = opened.options
    scale = None if opened.geometry is None else opened.geometry.pixel_scale
    if options.fwhm is not None:
        return gaussian_psf(options.fwhm, "option fwhm")
    if options.psf is not None:
        return read_psf_file(parse_path(options.psf), opened.shape, scale, opened.where)
    if "fwhm" in opened.cards.named and fwhm is not None:
        return gaussian_psf(fwhm.value, f"gaussian, FWHM of {fwhm.source}")
    if opened.planes.psf is not None:
        image = read_image(opened.hdus, opened.planes.psf, opened.source.path)
        return _varying_psf(opened) or _psf_extension(image, opened.where)
    if "psf" in opened.companions:
        return read_psf_file(opened.companions["psf"].file, opened.shape, scale, opened.where)
    archive = opened.archive
    stored = archive.attached(ReadableHeader(opened.hdus[0].header), "PSF") if archive is not None else None
    return None if stored is None else archived_psf(archive, stored, str(opened.source.path))


def _varying_psf(opened: Opened) -> VaryingPsf | None:
    """The PSF of the table that stands beside the PSF extension of our own files, or None."""
    listed = list_hdus(opened.hdus)
    beside = listed[opened.planes.psf]
    key = f"{beside.name}_DATA", beside.version
    index = next((hdu.index for hdu in listed if (hdu.name, hdu.version) == key), None)
    if index is None:
        return None
    model = read_psf_table(opened.hdus, index, opened.source)
    return VaryingPsf.from_model(model, opened.shape, "PSF_DATA extension", origin_from_header(opened.cards.header))


def _psf_extension(image: Any, where: str) -> Psf:
    """Psf of a PSF extension; one that is already centred and normalised is not touched."""
    image, name = image.astype(np.float64), f"PSF extension of {where}"
    square = image.ndim == 2 and image.shape[0] == image.shape[1] and image.shape[0] % 2 == 1
    ready = square and abs(image.sum() - 1.0) < 1e-6
    psf = Psf(image, name).checked() if ready else Psf.from_image(image, name)
    return replace(psf, origin="PSF extension")


def file_facts(opened: Opened, quantities: dict[str, Fact], psf: Psf | None) -> FileFacts:
    """What the user is told of all this."""
    return FileFacts(
        layout=opened.layout.name,
        planes=_planes(opened, psf),
        quantities={**quantities, **_geometry_facts(opened)},
        files={role: str(companion.file.path) for role, companion in opened.companions.items()},
    )


def _planes(opened: Opened, psf: Psf | None) -> dict[str, str]:
    """HDU or file of each plane."""
    listed, options, found = list_hdus(opened.hdus), opened.options, opened.planes
    own = {"image": found.image, "mask": found.mask, "variance": found.variance, "coverage": found.coverage}
    planes = {role: f"HDU {n} ({listed[n].name or 'no name'})" for role, n in own.items() if n is not None}
    for role, companion in opened.companions.items():
        name = "variance" if role in ("noise", "weight") else role
        planes[name] = str(companion)
    if found.variance is not None and found.variance_kind != "variance":
        planes["variance"] += f", a {found.variance_kind}"
    if options.mask is not None:
        planes["mask"] = f"file {options.mask}"
    if options.noise_file is not None:
        planes["variance"] = "{} file {}".format(*options.noise_file)
    if psf is not None:
        planes["psf"] = psf.origin
    return planes


def _geometry_facts(opened: Opened) -> dict[str, Fact]:
    grid = opened.geometry
    if grid is None:
        return {}
    turned = "WCS, position angle of the y axis" + (", mirrored" if grid.flipped else "")
    return {
        "pixel_scale": Fact(grid.pixel_scale, f"WCS ({grid.projection})", "arcsec/pix"),
        "rotation": Fact(grid.rotation, turned, "deg"),
        "ra": Fact(grid.ra, "WCS, middle of the image", "deg"),
        "dec": Fact(grid.dec, "WCS, middle of the image", "deg"),
    }
