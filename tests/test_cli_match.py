"""psfmatch match: the matched image, and what can be made of it later."""

import numpy as np
from astropy.io import fits

from conftest import FWHMS
from psfmatch_cli.io import read_exposure
from psfmatch_cli.kernel_io import load_kernel


def test_the_matched_image_and_the_kernel_file_make_the_difference(psfmatch, pair_folder, tmp_path):
    files = pair_folder / "template.fits", pair_folder / "science.fits"
    ended = psfmatch("match", *files, "-o", "matched.fits", *FWHMS, "--kernel-order", "0")
    assert ended.status == 0
    assert ended.out.startswith("match: template convolved, ")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "matched.fits",
        "matched_kernel.fits",
        "matched_metadata.json",
    ]
    assert psfmatch("subtract", *files, "-o", "diff.fits", *FWHMS, "--kernel-order", "0").status == 0
    science, matched, difference = (
        read_exposure(path) for path in (files[1], tmp_path / "matched.fits", tmp_path / "diff.fits")
    )
    background = load_kernel(tmp_path / "matched_kernel.fits").background.image(matched.box)
    # The same operations in another order: float32 rounding of the brightest pixels.
    expected = science.image - (matched.image + background)
    np.testing.assert_allclose(difference.image, expected, rtol=0, atol=3e-7 * np.nanmax(np.abs(science.image)))
    header = fits.getheader(tmp_path / "matched.fits")
    assert "DIFFIM" not in header
    assert (header["CONVOL00"], header["PHOTNORM"]) == ("TEMPLATE", "IMAGE")
