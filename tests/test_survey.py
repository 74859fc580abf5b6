"""What the pixels of an exposure tell about it, against what was put in."""

import numpy as np
import pytest

import made_files as made
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.facts import Fact, FileFacts
from psfmatch_cli.io import ReadOptions, read_exposure
from psfmatch_cli.psf import gaussian_psf
from psfmatch_cli.survey import survey


def test_sky_noise_width_and_stars(tmp_path):
    found = survey(read_exposure(made.ztf_files(tmp_path, [256, 1], with_psf=False)))
    value = {name: fact.value for name, fact in found.quantities.items()}
    # 36000 pixels, a tenth under stars: the median is good to 0.1 counts.
    assert value["sky"] == pytest.approx(made.SKY, abs=1.0)
    assert value["sky_noise"] == pytest.approx(made.true_sky_variance() ** 0.5, rel=0.02)
    assert value["predicted_noise"] == pytest.approx(value["sky_noise"], rel=0.02)
    assert value["fwhm"] == pytest.approx(made.FWHM, rel=0.02)
    # Of 30 stars at random some are blends.
    assert 10 <= value["stars"] <= 30
    assert value["ellipticity"] < 0.05
    assert value["header_fwhm"] == 3.1
    assert (value["gain"], value["saturation"]) == (pytest.approx(made.GAIN, rel=0.05), "as the mask says")
    assert found.masked == {"SAT": 1, "CR": 1}
    assert found.quantities["fwhm"].source.startswith(f"measured on {value['stars']:.0f} stars, scatter")
    assert found.fwhm_map["n_stars"].sum() == value["stars"]


def test_a_psf_comes_first_and_the_stars_stand_beside_it(tmp_path):
    exposure = read_exposure(made.ztf_files(tmp_path), ReadOptions(fwhm=4.0))
    found = survey(exposure).quantities
    assert (found["fwhm"].value, found["fwhm"].source) == (gaussian_psf(4.0).fwhm, "PSF, option fwhm")
    assert found["measured_fwhm"].value == pytest.approx(made.FWHM, rel=0.02)
    assert found["header_fwhm"] == Fact(3.1, "header SEEING", "pix")


def test_an_image_without_stars_has_the_width_of_its_header():
    facts = FileFacts("plain", {}, {"fwhm": Fact(3.3, "header FWHM", "pix"), "unit": Fact("adu", "header BUNIT")})
    image = made.counts(n_stars=0)
    exposure = Exposure(MaskedImage.from_arrays(image, None, np.full(image.shape, 200.0)), facts=facts)
    found = survey(exposure)
    assert (found.quantities["fwhm"].value, found.quantities["stars"].value) == (3.3, 0.0)
    assert (found.quantities["sky"].unit, found.fwhm_map, found.masked) == ("adu", None, {})
    assert "saturation" not in found.quantities


def test_an_image_without_usable_pixels_is_an_error():
    exposure = Exposure(MaskedImage.from_arrays(np.full((20, 20), np.nan)))
    with pytest.raises(InputError, match="no usable pixel"):
        survey(exposure)
