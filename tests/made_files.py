"""Small files with the HDUs and cards of surveys and instruments, made from one field whose truth is known.

The field holds stars on a sky; counts are electrons over a gain. Each function writes the files of one layout and
returns the path of the image; a flag value stands on a pixel of its own, see `flag_image`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from made_pairs import gaussian_stars

SHAPE = (180, 200)
SKY, GAIN, READ_NOISE, FWHM = 400.0, 2.0, 6.0, 3.2
#: Arcsec per pixel of the WCS.
PIXEL_SCALE = 0.4
#: Row of the image in which the flags stand.
FLAG_ROW = 2


def electrons(sky: float = SKY, *, seed: int = 1, n_stars: int = 30) -> np.ndarray:
    """Stars on a sky of so many counts, with photon and read noise; electrons, (H, W)."""
    rng = np.random.default_rng(seed)
    x, y = (rng.uniform(15, side - 15, n_stars) for side in SHAPE[::-1])
    light = gaussian_stars(SHAPE, x, y, 10 ** rng.uniform(3.5, 5.5, n_stars), FWHM / 2.3548)
    return rng.poisson(light + sky * GAIN) + rng.normal(0.0, READ_NOISE, SHAPE)


def counts(sky: float = SKY, **more: Any) -> np.ndarray:
    """The same in counts, float32."""
    return (electrons(sky, **more) / GAIN).astype(np.float32)


def true_sky_variance(sky: float = SKY) -> float:
    """Counts squared."""
    return sky / GAIN + (READ_NOISE / GAIN) ** 2


def flag_image(values: Iterable[int], dtype: Any = np.int32) -> np.ndarray:
    """Image of zeros with each value on the pixel (FLAG_ROW, its place in the list)."""
    flags = np.zeros(SHAPE, dtype)
    for column, value in enumerate(values):
        flags[FLAG_ROW, column] = value
    return flags


def flagged_columns(exposure: Any, plane: str) -> list[int]:
    """Columns of FLAG_ROW whose pixel has a mask plane."""
    return np.flatnonzero(exposure.masked_image.flagged([plane])[FLAG_ROW]).tolist()


def sky_cards(scale: float = PIXEL_SCALE, kind: str = "TAN") -> fits.Header:
    """Cards of a WCS with north up and east to the left."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{kind}", f"DEC--{kind}"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [(SHAPE[1] + 1) / 2, (SHAPE[0] + 1) / 2]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return wcs.to_header()


def save(path: Path, *hdus: Any) -> Path:
    """Write HDUs; the first is the primary one."""
    fits.HDUList(list(hdus)).writeto(path)
    return path


def primary(image: np.ndarray | None = None, **cards: Any) -> fits.PrimaryHDU:
    """Primary HDU; a double underscore in a name stands for a dash, one between letters for a dot."""
    hdu = fits.PrimaryHDU(image)
    put_cards(hdu.header, cards)
    return hdu


def extension(image: np.ndarray, name: str = "", version: int | None = None, **cards: Any) -> fits.ImageHDU:
    """Image extension."""
    hdu = fits.ImageHDU(image, name=name or None, ver=version)
    put_cards(hdu.header, cards)
    return hdu


def compressed(image: np.ndarray, name: str = "", **cards: Any) -> fits.CompImageHDU:
    """Tile-compressed extension, without loss."""
    kind = {"compression_type": "GZIP_2", "quantize_level": 0.0} if image.dtype.kind == "f" else {}
    hdu = fits.CompImageHDU(image, name=name or None, **kind)
    put_cards(hdu.header, cards)
    return hdu


def put_cards(header: fits.Header, cards: Mapping[str, Any]) -> None:
    """Set cards; names with a dot use the HIERARCH convention."""
    for name, value in cards.items():
        keyword = name.replace("__", "-")
        header[f"HIERARCH {keyword}" if "." in keyword or len(keyword) > 8 else keyword] = value


def hst_file(
    path: Path,
    flags: Iterable[int] = (),
    *,
    camera: str = "ACS",
    detector: str = "WFC",
    unit: str = "ELECTRONS",
    **more,
) -> Path:
    """Calibrated exposure of two chips: SCI, ERR and DQ of each; chip n has an error of 30 n."""
    head = {"TELESCOP": "HST", "INSTRUME": camera, "DETECTOR": detector, "EXPTIME": 500.0}
    if camera == "ACS":
        head |= {"FILTER1": "CLEAR1L", "FILTER2": "F814W"}
    hdus = [primary(DATE__OBS="2019-05-03", TIME__OBS="10:18:49", **head)]
    for chip in (1, 2):
        science = extension(electrons(seed=chip).astype(np.float32), "SCI", chip, BUNIT=unit, PHOTFLAM=7e-20)
        science.header["PHOTPLAM"] = 8000.0
        science.header.update(sky_cards())
        hdus += [science, extension(np.full(SHAPE, 30.0 * chip, np.float32), "ERR", chip)]
        hdus.append(extension(flag_image(flags, np.int16), "DQ", chip))
    return save(path, *hdus)


def drizzled_file(path: Path, time: float = 500.0) -> Path:
    """Drizzled image in electrons per second, weighted by exposure time; the left quarter has a third of it."""
    weight = np.full(SHAPE, time, np.float32)
    weight[:, : SHAPE[1] // 4] /= 3
    weight[:, :5] = 0
    rate = np.random.default_rng(3).poisson(SKY * weight) / np.maximum(weight, 1)
    head = primary(TELESCOP="HST", INSTRUME="WFC3", DETECTOR="UVIS", EXPTIME=time)
    science = extension(rate.astype(np.float32) - np.float32(SKY), "SCI", 1, BUNIT="ELECTRONS/S")
    return save(path, head, science, extension(weight, "WHT", 1), extension(flag_image([]), "CTX", 1))


def jwst_file(path: Path, flags: Iterable[int] = ()) -> Path:
    """Calibrated exposure in MJy/sr: SCI, ERR, DQ, AREA, VAR_*."""
    image = (counts() - SKY) * 0.01
    head = primary(TELESCOP="JWST", INSTRUME="NIRCAM", FILTER="F200W", EFFEXPTM=311.0, DATE__OBS="2022-06-28")
    science = extension(image.astype(np.float32), "SCI", 1, BUNIT="MJy/sr", PIXAR_SR=2.2e-14, PHOTMJSR=1.8)
    science.header.update(sky_cards(0.031))
    names = ("AREA", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
    return save(
        path,
        head,
        science,
        extension(np.full(SHAPE, 0.15, np.float32), "ERR", 1),
        extension(flag_image(flags, np.uint32), "DQ", 1),
        *(extension(np.ones(SHAPE, np.float32), name, 1) for name in names),
    )


def jwst_combined_file(path: Path) -> Path:
    """Resampled image: SCI, ERR, CON, WHT; the first 7 columns have no weight."""
    image, error, weight = (counts() - SKY) * 0.01, np.full(SHAPE, 0.15), np.full(SHAPE, 900.0)
    image[:, :7] = error[:, :7] = weight[:, :7] = 0
    return save(
        path,
        primary(TELESCOP="JWST", INSTRUME="NIRCAM"),
        extension(image.astype(np.float32), "SCI", 1, BUNIT="MJy/sr", PIXAR_SR=2.2e-14),
        extension(error.astype(np.float32), "ERR", 1),
        extension(np.ones((1, *SHAPE), np.int32), "CON", 1),
        extension(weight.astype(np.float32), "WHT", 1),
    )


def decam_files(folder: Path, flags: Iterable[int] = (), *, version: str = "V4.8.2", chips=("S29", "N4")) -> Path:
    """Image, data quality and weight of the community pipeline in three tile-compressed files."""
    head = {"INSTRUME": "DECam", "PROCTYPE": "InstCal", "PLVER": version, "EXPTIME": 30.0, "FILTER": "z DECam SDSS"}
    files = {"i": ("image", "ooi"), "d": ("dqmask", "ood"), "w": ("wtmap", "oow")}
    for kind, (product, word) in files.items():
        hdus = [primary(PRODTYPE=product, MAGZERO=29.9, **head)]
        for n, chip in enumerate(chips):
            weight = np.full(SHAPE, 1 / (true_sky_variance() * (n + 1)), np.float32)
            weight[5, 5] = 0
            planes = {"i": counts(seed=n + 1), "d": flag_image(flags), "w": weight}
            hdus.append(compressed(planes[kind], chip, CCDNUM=n + 1, GAINA=GAIN, GAINB=GAIN, SATURATA=40000.0))
            if kind == "i":
                hdus[-1].header["FWHM"] = (3.9, "Median FWHM in pixels")
                hdus[-1].header.update(sky_cards(0.27))
        save(folder / f"c4d_190503_101849_{word}_z_v1.fits.fz", *hdus)
    return folder / "c4d_190503_101849_ooi_z_v1.fits.fz"


def ztf_files(folder: Path, flags: Iterable[int] = (), *, with_psf: bool = True) -> Path:
    """Science image, mask image and PSF image."""
    stem = "ztf_20190503123456_000713_zr_c03_o_q1_"
    head = primary(
        counts(),
        INSTRUME="ZTF/MOSAIC",
        ORIGIN="Zwicky Transient Facility",
        GAIN=GAIN,
        READNOI=READ_NOISE,
        SATURATE=45000.0,
        MAGZP=26.2,
        FILTER="ZTF_r",
        EXPTIME=30.0,
        DATE__OBS="2019-05-03T12:34:56",
    )
    head.header["SEEING"] = (3.1, "Seeing FWHM")
    head.header.update(sky_cards(1.01))
    image = save(folder / f"{stem}sciimg.fits", head)
    save(folder / f"{stem}mskimg.fits", primary(flag_image(flags, np.int16)))
    if with_psf:
        u = np.arange(-12, 13)
        psf = np.exp(-0.5 * (u[:, None] ** 2 + u**2) / (3.0 / 2.3548) ** 2)
        save(folder / f"{stem}sciimgdaopsfcent.fits", primary(psf.astype(np.float32)))
    return image


def panstarrs_files(folder: Path, flags: Iterable[int] = (), *, asinh: bool = True) -> Path:
    """Stack with its mask and variance, as inverse hyperbolic sines if wanted."""
    linear = {"": counts(0.0) + np.float32(3.0), ".wt": np.full(SHAPE, true_sky_variance(), np.float32)}
    stem = "rings.v3.skycell.1334.060.stk.r.unconv"
    cards = {"EXPTIME": 500.0, "CELL.GAIN": GAIN, "CELL.READNOISE": READ_NOISE, "CELL.SATURATION": 60000.0}
    cards |= {"FPA.ZP": 25.0, "FPA.FILTERID": "r.00000", "CHIP.SEEING": 3.4, "MJD-OBS": 55555.5}
    for suffix, image in linear.items():
        offset, softening = float(image.mean()), float(1.04 * image.std() + 0.1)
        a = 2.5 * np.log10(np.e)
        stored = a * np.arcsinh((image.astype(float) - offset) / (2 * softening)) if asinh else image
        hdu = compressed(stored.astype(np.float32), **cards)
        if asinh:
            put_cards(hdu.header, {"BOFFSET": offset, "BSOFTEN": softening})
        hdu.header.update(sky_cards(0.25))
        save(folder / f"{stem}{suffix}.fits", primary(), hdu)
    save(folder / f"{stem}.mask.fits", primary(), compressed(flag_image(flags, np.uint16)))
    return folder / f"{stem}.fits"


def sdss_frame(path: Path, *, column: int = 4, run: int = 6377) -> Path:
    """Calibrated, sky-subtracted frame in nanomaggies with its calibration vector and sky table."""
    calibration, gain, dark, sky = 0.005, 4.76, 1.3225, 120.0
    rng = np.random.default_rng(2)
    dn = rng.poisson(sky * gain, SHAPE) / gain + rng.normal(0, dark**0.5, SHAPE)
    image = ((dn - sky) * calibration).astype(np.float32)
    head = primary(image, ORIGIN="SDSS", TELESCOP="2.5m", RUN=run, CAMCOL=column, FILTER="r", BUNIT="nanomaggy")
    head.header.update(sky_cards(0.396))
    table = fits.BinTableHDU.from_columns(
        [fits.Column("ALLSKY", "30E", dim="(6,5)", array=np.full((1, 5, 6), sky, np.float32))]
    )
    return save(path, head, fits.ImageHDU(np.full(SHAPE[1], calibration, np.float32)), table)


def swarp_files(folder: Path, *, scale: float = 1.0) -> Path:
    """Coadd of subtracted sky and its weight map, the left quarter with a third of the weight."""
    weight = np.full(SHAPE, scale / true_sky_variance(), np.float32)
    image = counts() - np.float32(SKY)
    weight[:, : SHAPE[1] // 4] /= 3
    rng = np.random.default_rng(4)
    image[:, : SHAPE[1] // 4] += rng.normal(0, (2 * true_sky_variance()) ** 0.5, (SHAPE[0], SHAPE[1] // 4))
    image[:, :5] = weight[:, :5] = 0
    head = primary(image, SOFTNAME="SWarp", COMBINET="WEIGHTED", RESAMPT1="LANCZOS3", GAIN=GAIN, SATURATE=30000.0)
    head.header.update(sky_cards())
    save(folder / "coadd.weight.fits", primary(weight))
    return save(folder / "coadd.fits", head)


def small_telescope_file(path: Path, **cards: Any) -> Path:
    """Unsigned 16-bit integers with BZERO, cut at 65535, as programs that drive cameras write them."""
    image = np.clip(np.rint(counts()), 0, 65535).astype(np.uint16)
    return save(path, primary(image, EXPTIME=60.0, DATE__OBS="2015-12-27T06:27:38", **cards))


def psfex_file(path: Path, *, degree: int = 1, sampling: float = 0.5, fwhm: float = FWHM, growth: float = 0.0) -> Path:
    """PSFEx model of Gaussians whose FWHM (image pixels) grows along x by this share from the centre to the edge."""
    side = 41
    u = (np.arange(side) - side // 2) * sampling

    def gaussian(width: float) -> np.ndarray:
        profile = np.exp(-0.5 * (u / (width / 2.3548)) ** 2)
        image = np.outer(profile, profile)
        return image / image.sum()

    n_terms = (degree + 1) * (degree + 2) // 2
    masks = np.zeros((1, n_terms, side, side), np.float32)
    masks[0, 0] = gaussian(fwhm)
    if degree:
        masks[0, 1] = gaussian(fwhm * (1 + growth)) - masks[0, 0]  # the term of x
    column = fits.Column("PSF_MASK", f"{n_terms * side**2}E", dim=f"({side},{side},{n_terms})", array=masks)
    table = fits.BinTableHDU.from_columns([column], name="PSF_DATA")
    cards = {"POLNAXIS": 2, "POLNAME1": "X_IMAGE", "POLNAME2": "Y_IMAGE", "POLDEG1": degree, "PSF_SAMP": sampling}
    cards |= {"POLZERO1": (SHAPE[1] + 1) / 2, "POLZERO2": (SHAPE[0] + 1) / 2}
    cards |= {"POLSCAL1": SHAPE[1] / 2, "POLSCAL2": SHAPE[0] / 2, "PSF_FWHM": fwhm / sampling, "PSFNAXIS": 3}
    put_cards(table.header, cards)
    return save(path, fits.PrimaryHDU(), table)
