"""Every pair of the optional data folder by the command line, with file names alone; cropped, to be quick."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from test_output_files import check_fits

from reference_data import data_folder

#: Rows and columns of the science image that are used, and the layouts that the record is to name.
PAIRS = {
    "sdss-r own WCS": ("sdss-r", "template.fits.gz", "science.fits.gz", np.s_[200:800, 300:1000], "sdss"),
    "sdss-r aligned": ("sdss-r", "template.fits.gz", "science_aligned.fits.gz", np.s_[200:800, 300:1000], "sdss"),
    "eso085": ("eso085", "template.fit", "science.fit", np.s_[80:560, 250:750], "plain"),
    "nircam-a2744": ("nircam-a2744", "template.fits", "science.fits", np.s_[150:700, 150:700], "jwst"),
}


def crop(source: Path, target: Path, part: tuple[slice, slice]) -> None:
    """Write part of the image of a file, with the same cards, its position on the sky included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(source) as hdus:
            number = next(n for n, hdu in enumerate(hdus) if hdu.data is not None and hdu.data.ndim == 2)
            header = hdus[number].header.copy()
            for axis, rows in ((1, part[1]), (2, part[0])):
                if f"CRPIX{axis}" in header:
                    header[f"CRPIX{axis}"] -= rows.start
            kind = fits.PrimaryHDU if number == 0 else fits.ImageHDU
            cut = kind(hdus[number].data[part].copy(), header)
            fits.HDUList([*hdus[:number], cut]).writeto(target, output_verify="silentfix")


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_needs_no_option_but_its_files(name, psfmatch, tmp_path):
    folder, template, science, part, layout = PAIRS[name]
    where = data_folder(folder)
    for role, file in (("template", template), ("science", science)):
        crop(where / file, tmp_path / f"{role}.fits", part)
    ended = psfmatch("subtract", "template.fits", "science.fits", "-o", "d.fits")
    assert ended.status == 0, ended.err
    for product in ("d.fits", "d_matched.fits", "d_kernel.fits"):
        check_fits(tmp_path / product)
    record = json.loads((tmp_path / "d_metadata.json").read_text())["metadata"]["run"]["metadata"]
    for role in ("template", "science"):
        assert record["reading"]["metadata"][role]["scalars"]["layout"] == layout
    with fits.open(tmp_path / "d.fits") as hdus:
        assert hdus["IMAGE"].shape == fits.getdata(tmp_path / "science.fits").shape
        assert np.isfinite(hdus["IMAGE"].data).mean() > 0.8
    # Noise by the images' own sky: a difference that kept stars or background would be far from it.
    assert 0.9 < record["summary"]["scalars"]["sky_width"] < 1.15


def test_the_made_pair_without_a_common_origin(psfmatch):
    folder = data_folder("reference-pair")
    ended = psfmatch("subtract", folder / "templateMI.fits", folder / "scienceMI.fits", "-o", "d.fits")
    assert ended.status == 0
    assert "taken as aligned pixel by pixel" in ended.err
