import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from psfmatch_cli.errors import InputError, OutputError
from psfmatch_cli.exposure import Box
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel, SpatialModel
from psfmatch_cli.kernel_io import SavedKernel, load_kernel, save_kernel

REGION = Box(-20, 10, 1003, 777)


def solution(kind="chebyshev1", candidates=True):
    rng = np.random.default_rng(1)
    kernel = MatchingKernel(rng.normal(size=(5, 9, 9)), rng.normal(size=(5, 6)), SpatialModel(kind, 2, REGION))
    background = BackgroundModel(rng.normal(size=3), SpatialModel(kind, 1, REGION))
    table = Table({"id": [1, 2], "x": [3.5, 1 / 3], "used": [True, False], "status": ["used", "kernel_sum"]})
    settings = {"kernel": {"sizes": [9, 11], "scale": 0.1}, "text": 'quote " and \N{GREEK SMALL LETTER ALPHA}\n'}
    info = {"convolved": "template", "fwhm": np.float64(2.5), "none": None, "nan": float("nan")}
    return SavedKernel(kernel, background, table if candidates else None, settings, info)


@pytest.mark.parametrize("kind", ["chebyshev1", "polynomial"])
def test_kernel_and_background_come_back_bit_for_bit(tmp_path, kind):
    saved = solution(kind)
    save_kernel(tmp_path / "k.fits", saved)
    loaded = load_kernel(tmp_path / "k.fits")
    np.testing.assert_array_equal(loaded.kernel.basis, saved.kernel.basis)
    np.testing.assert_array_equal(loaded.kernel.coefficients, saved.kernel.coefficients)
    np.testing.assert_array_equal(loaded.background.coefficients, saved.background.coefficients)
    assert loaded.kernel.spatial == saved.kernel.spatial
    assert loaded.background.spatial == saved.background.spatial
    rng = np.random.default_rng(2)
    for x, y in zip(rng.uniform(-20, 1003, 20), rng.uniform(10, 777, 20), strict=True):
        np.testing.assert_array_equal(loaded.kernel.image(x, y), saved.kernel.image(x, y))
        assert loaded.background(x, y) == saved.background(x, y)


def test_candidates_settings_and_info_come_back(tmp_path):
    saved = solution()
    save_kernel(tmp_path / "k.fits.gz", saved)
    loaded = load_kernel(tmp_path / "k.fits.gz")
    assert loaded.candidates.colnames == saved.candidates.colnames
    for name in saved.candidates.colnames:
        assert loaded.candidates[name].tolist() == saved.candidates[name].tolist()
    assert loaded.settings == saved.settings
    assert loaded.info.pop("nan") is None  # JSON has no NaN
    assert loaded.info == {"convolved": "template", "fwhm": 2.5, "none": None}


def test_a_kernel_without_candidates_or_settings(tmp_path):
    saved = SavedKernel(solution().kernel, BackgroundModel.zero(REGION))
    save_kernel(tmp_path / "k.fits", saved)
    loaded = load_kernel(tmp_path / "k.fits")
    assert loaded.candidates is None
    assert (loaded.settings, loaded.info) == ({}, {})
    assert loaded.background.coefficients.tolist() == [0.0]


def test_the_primary_header_tells_the_story(tmp_path):
    saved = solution()
    save_kernel(tmp_path / "k.fits", saved, cards=[("PMVERS", "1.0", "")], history=["made"])
    with fits.open(tmp_path / "k.fits", checksum=True) as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        names = [hdu.name for hdu in hdus]
    assert names == ["PRIMARY", "BASIS", "KERNEL_COEFFICIENTS", "BACKGROUND", "SETTINGS", "INFO", "CANDIDATES"]
    assert (header["PMFORMAT"], header["PMFVERS"], header["PMCONV"]) == ("psfmatch-kernel", 1, "template")
    assert (header["PMKSIZE"], header["PMNBASIS"], header["PMKORDER"], header["PMBORDER"]) == (9, 5, 2, 1)
    assert header["PMKSUM"] == pytest.approx(saved.kernel.center_sum)
    assert (header["PMVERS"], header["HISTORY"][0]) == ("1.0", "made")


def test_other_and_damaged_files_are_refused(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "other.fits")
    with pytest.raises(InputError, match="not a kernel file of psfmatch"):
        load_kernel(tmp_path / "other.fits")
    save_kernel(tmp_path / "k.fits", solution())
    for name, change, message in (
        (
            "new.fits",
            lambda hdus: hdus[0].header.set("PMFVERS", 2),
            "kernel file version 2, this program reads version 1",
        ),
        ("part.fits", lambda hdus: hdus.pop(2), "no HDU KERNEL_COEFFICIENTS"),
        ("cards.fits", lambda hdus: hdus[2].header.remove("SPORDER"), "damaged kernel file"),
        (
            "order.fits",
            lambda hdus: hdus[2].header.set("SPORDER", 3),
            "damaged kernel file .*kernel coefficients have shape",
        ),
    ):
        with fits.open(tmp_path / "k.fits") as hdus:
            change(hdus)
            hdus.writeto(tmp_path / name)
        with pytest.raises(InputError, match=message):
            load_kernel(tmp_path / name)


def test_existing_files_are_kept(tmp_path):
    save_kernel(tmp_path / "k.fits", solution())
    with pytest.raises(OutputError, match="already exists"):
        save_kernel(tmp_path / "k.fits", solution())
    save_kernel(tmp_path / "k.fits", solution(candidates=False), overwrite=True)
    assert load_kernel(tmp_path / "k.fits").candidates is None
