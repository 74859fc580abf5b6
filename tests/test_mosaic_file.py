"""Files of many chips: what is written comes back, chip by chip, bit for bit."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from made_files import sky_cards
from made_pairs import exposure, known_kernel, plane
from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.fitsfile import list_hdus, open_fits
from psfmatch_cli.io import read_exposure, write_exposure
from psfmatch_cli.kernel_io import SavedKernel, load_kernel, save_kernel
from psfmatch_cli.layouts import Hdu
from psfmatch_cli.mosaic import Chip, name_chips
from psfmatch_cli.mosaic_file import MosaicWriter
from psfmatch_cli.psf import Psf, VaryingPsf
from psfmatch_cli.psfex import PsfexModel

SHAPE = (40, 50)


def chip(name, version=1):
    return Chip(name, version, Hdu(0, {}, SHAPE), name)


CHIPS = (chip("N4"), chip("S29"), chip("S29", 2))
ONES = tuple(enumerate(CHIPS, start=1))


def image_of(n):
    """Exposure whose header repeats the cards of its file's primary header, as the reader makes it."""
    from astropy.wcs import WCS

    rng = np.random.default_rng(n)
    pixels, variance = rng.normal(size=SHAPE), rng.uniform(1, 2, SHAPE)
    pixels[3, n] = np.nan
    mask = rng.integers(0, 4, SHAPE)
    masked = MaskedImage.from_arrays(pixels, mask, variance, {"BAD": 0, "SAT": 1}, (10 * n, 3))
    header = fits.Header([("CCDNUM", n), ("DETNAME", f"chip {n}"), ("MJDREF", 0.0), *common().cards])
    u = np.exp(-0.5 * (np.arange(-5, 6) / (1 + 0.1 * n)) ** 2)
    psf = Psf.from_image(np.outer(u, u), "made")
    made = exposure(pixels, variance, name=f"chip {n}", wcs=WCS(sky_cards()), header=header, fluxmag0=1e9 * n, psf=psf)
    return made.with_pixels(masked, psf=psf)


def common():
    return fits.Header([("OBJECT", "a field", "what it is"), ("EXPTIME", 30.0, "s"), ("BUNIT", "adu")])


def write(path, chips=CHIPS):
    with MosaicWriter(path, cards=[("PROGRAM", "PSFMATCH", "")], history=["made"], common=common()) as file:
        for n, each in enumerate(chips, start=1):
            file.add_exposure(each, image_of(n), cards=[("PMKSUM", 1.0 + n, "")], history=["chip"])
        file.finish(Table({"extension": [each.label for each in chips]}))
    return path


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".fits.fz"])
def test_chips_come_back_bit_for_bit(tmp_path, suffix):
    path = write(tmp_path / f"mosaic{suffix}")
    with open_fits(path) as hdus:
        by, chips = name_chips(list_hdus(hdus), "mosaic")
    assert (by, [each.label for each in chips]) == ("EXTNAME", ["N4", "S29", "S29,2"])
    for n, each in enumerate(chips, start=1):
        back, made = read_exposure(f"{path}[{each.key}]"), image_of(n)
        for name in ("image", "mask", "variance"):
            np.testing.assert_array_equal(getattr(back, name), getattr(made, name))
        np.testing.assert_array_equal(back.psf.image, made.psf.image)
        assert (back.xy0, back.planes, back.fluxmag0) == (made.xy0, made.planes, made.fluxmag0)
        assert (back.facts.layout, back.header["CCDNUM"], back.header["PMKSUM"]) == ("mosaic", n, 1.0 + n)
        assert {card: back.header[card] for card in ("OBJECT", "EXPTIME", "BUNIT")} == dict(common())
    assert read_exposure(path).header["CCDNUM"] == 1


def test_what_holds_for_all_chips_stands_in_the_primary_header_only(tmp_path):
    with fits.open(write(tmp_path / "mosaic.fits"), checksum=True) as hdus:
        hdus.verify("exception")
        assert all("CHECKSUM" in hdu.header for hdu in hdus)
        assert (hdus[0].header["OBJECT"], hdus[0].header["PROGRAM"]) == ("a field", "PSFMATCH")
        assert "OBJECT" not in hdus["N4"].header
        assert hdus["N4"].header["DETNAME"] == "chip 1"
        assert "DETNAME" not in hdus[0].header
        assert hdus["N4"].header.count("MJDREF") == 1, "it comes with the WCS, too"
        assert (str(hdus[0].header["HISTORY"]), str(hdus["N4"].header["HISTORY"])) == ("made", "chip")
        planes = ["", "_MASK", "_VARIANCE", "_PSF"]
        expected = [(each.name + plane, each.version) for each in CHIPS for plane in planes]
        assert [(hdu.name, hdu.ver) for hdu in hdus[1:]] == [*expected, ("EXTENSIONS", 1)]


def test_a_card_that_differs_from_the_primary_header_stays_with_the_chip(tmp_path):
    changed = image_of(1)
    changed.header["EXPTIME"] = 60.0
    path = tmp_path / "mosaic.fits"
    with MosaicWriter(path, common=common()) as file:
        file.add_exposure(CHIPS[0], changed)
        file.add_exposure(CHIPS[1], image_of(2))
    assert "EXPTIME" not in fits.getheader(path)
    assert [read_exposure(f"{path}[{name}]").header["EXPTIME"] for name in ("N4", "S29")] == [60.0, 30.0]


def test_an_exposure_read_from_a_mosaic_is_written_as_one_exposure(tmp_path):
    back = read_exposure(f"{write(tmp_path / 'mosaic.fits')}[S29]")
    write_exposure(tmp_path / "one.fits", back)
    again = read_exposure(tmp_path / "one.fits")
    assert again.facts.layout == "lsst"
    np.testing.assert_array_equal(again.image, back.image)


def test_the_suffix_is_that_of_an_exposure(tmp_path):
    with MosaicWriter(tmp_path / "mosaic.ecsv") as file, pytest.raises(UsageError, match="must end in"):
        file.add_exposure(CHIPS[0], image_of(1))


def varying_psf(n):
    """PSF whose width changes over the image, of the chip n."""
    images = np.zeros((3, 11, 11))
    u = np.exp(-0.5 * (np.arange(-5, 6) / (1 + 0.1 * n)) ** 2)
    images[0] = np.outer(u, u) / u.sum() ** 2
    images[1] = 0.1 * (np.outer(u**2, u**2) / (u**2).sum() ** 2 - images[0])
    model = PsfexModel(images, 1, (25.0, 20.0), (25.0, 20.0), 1.0)
    return VaryingPsf.from_model(model, SHAPE, "made", (10 * n, 3))


@pytest.mark.parametrize("suffix", [".fits", ".fits.fz"])
def test_psfs_that_vary_come_back(tmp_path, suffix):
    made = {each.label: image_of(n).with_pixels(image_of(n).masked_image, psf=varying_psf(n)) for n, each in ONES}
    with MosaicWriter(tmp_path / f"mosaic{suffix}") as file:
        for _, each in ONES:
            file.add_exposure(each, made[each.label])
    write_exposure(tmp_path / f"one{suffix}", made["N4"])
    for name, label in (("mosaic", "N4"), ("mosaic", "S29"), ("mosaic", "S29,2"), ("one", "N4")):
        back = read_exposure(f"{tmp_path / name}{suffix}" + ("" if name == "one" else f"[{label}]")).psf
        assert isinstance(back, VaryingPsf)
        # The model is written in single precision.
        np.testing.assert_allclose(back.model.coefficients, made[label].psf.model.coefficients, atol=1e-7)
        np.testing.assert_allclose(back.model.image(5, 30), made[label].psf.model.image(5, 30), atol=1e-6)


def saved(order):
    region = (80, 90)
    candidates = Table({"id": [1, 2], "reason": ["", "faint"]}) if order else None
    return SavedKernel(known_kernel(order, region), plane(region, [float(order)]), candidates, {"a": 1}, {"n": order})


def test_kernels_come_back_chip_by_chip(tmp_path):
    path = tmp_path / "kernels.fits"
    with MosaicWriter(path, cards=[("PROGRAM", "PSFMATCH", "")]) as file:
        for n, each in enumerate(CHIPS):
            file.add_kernel(each, saved(n), cards=[("PMNGOOD", n, "")])
    for n, each in enumerate(CHIPS):
        back, made = load_kernel(f"{path}[{each.label}]"), saved(n)
        np.testing.assert_array_equal(back.kernel.coefficients, made.kernel.coefficients)
        np.testing.assert_array_equal(back.kernel.basis, made.kernel.basis)
        np.testing.assert_array_equal(back.background.coefficients, made.background.coefficients)
        assert (back.kernel.spatial, back.settings, back.info) == (made.kernel.spatial, made.settings, made.info)
        assert (back.candidates is None) == (made.candidates is None)
        header = fits.getheader(path, f"{each.name}_BASIS", each.version)
        assert (header["PMNGOOD"], header["PMKORDER"]) == (n, n)
    with pytest.raises(InputError, match="name one of the chips in brackets; the file has kernels of N4, S29, S29,2"):
        load_kernel(path)
    with pytest.raises(InputError, match="name one of the chips"):
        load_kernel(f"{path}[N9]")


def test_a_file_of_one_kernel_has_no_chips(tmp_path):
    save_kernel(tmp_path / "kernel.fits", saved(1))
    with pytest.raises(InputError, match="holds one kernel"):
        load_kernel(f"{tmp_path / 'kernel.fits'}[N4]")
