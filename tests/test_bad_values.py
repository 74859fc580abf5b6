"""Files and settings that are valid, with values that are absurd: an honest error or an honest result."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from made_pairs import gaussian_pair
from psfmatch_cli.arrays import LARGEST_COUNTS
from psfmatch_cli.errors import InputError, PsfMatchError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.io import write_exposure
from psfmatch_cli.psf import gaussian_psf

SHAPE = (140, 150)
ROOT = Path(__file__).parents[1]
FWHMS = ("--template-fwhm", "3.3", "--science-fwhm", "4.5")
UNUSABLE = ("NO_DATA", "BAD", "SAT", "CR", "EDGE")


@pytest.fixture(scope="module")
def pair():
    """Pair with the sharper template, noise of 1 count."""
    return gaussian_pair((1.4, 1.9), shape=SHAPE, n_stars=5, flux=(4e3, 2e4), xy0=(0, 0))[:2]


@pytest.fixture(scope="module")
def folder(pair, tmp_path_factory):
    """Folder with t.fits and s.fits of the pair; not to be written to."""
    made = tmp_path_factory.mktemp("bad")
    for name, image in zip("ts", pair, strict=True):
        write_exposure(made / f"{name}.fits", image)
    return made


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def strict(text):
    """JSON without NaN and infinities."""
    return json.loads(text, parse_constant=refuse)


def run(psfmatch, folder, *more, template="t.fits", science="s.fits", command="subtract"):
    """How a match of two files of the folder ended; a failure is one line, the record is JSON."""
    ended = psfmatch(command, folder / template, folder / science, "-o", "o.fits", *FWHMS, *more)
    assert ended.err.count("psfmatch: error") == (ended.status != 0)
    assert "internal error" not in ended.err
    if os.path.exists("o_metadata.json"):
        with open("o_metadata.json", encoding="utf-8") as file:
            assert strict(file.read())["metadata"]["run"]["scalars"]["exitCode"] == ended.status
    assert os.path.exists("o.fits") == (ended.status == 0)
    return ended


def subtracted(*exposures):
    """The result of a subtraction, or the error that it ended with."""
    try:
        return ImagePsfMatchTask().subtract_exposures(*exposures, 3.3, 4.5)
    except PsfMatchError as error:
        return error


# Pixels

HALF = np.arange(SHAPE[1]) < 75
MIDDLE = np.zeros(SHAPE, bool)
MIDDLE[45:95, 50:100] = True
RARE = np.random.default_rng(8).random(SHAPE) < 3e-4

#: Name, image, mask and variance from an image, and the exit statuses it may end with as science image and as template.
PIXELS = [
    ("constant", lambda a: (0 * a + 5, None, 1.0), 3, 3),
    ("zero", lambda a: (0 * a, None, 1.0), 3, 3),
    ("all NaN", lambda a: (np.nan * a, None, 1.0), 1, 3),
    ("all infinite", lambda a: (np.full(SHAPE, np.inf), None, 1.0), 1, 3),
    ("half NaN", lambda a: (np.where(HALF, np.nan, a), None, 1.0), None, None),
    ("hole in the middle", lambda a: (np.where(MIDDLE, np.nan, a), None, 1.0), None, None),
    ("infinite pixels", lambda a: (np.where(RARE, np.inf, a), None, 1.0), None, None),
    ("pixels of 3e38", lambda a: (np.where(RARE, 3e38, a), None, 1.0), None, None),
    ("pixels of -3e38", lambda a: (np.where(RARE, -3e38, a), None, 1.0), None, None),
    ("zero variance", lambda a: (a, None, 0.0), 3, 3),
    ("negative variance", lambda a: (a, None, -1.0), 3, 3),
    ("NaN variance", lambda a: (a, None, np.nan), 3, 3),
    ("variance of 1e37", lambda a: (a, None, 1e37), 1, 3),
    ("half negative variance", lambda a: (a, None, np.where(HALF, -1.0, 1.0)), None, None),
    ("all masked", lambda a: (a, np.full(SHAPE, 1), 1.0), 1, 3),
    ("all saturated", lambda a: (np.full(SHAPE, 65535.0), np.full(SHAPE, 2), 1.0), 3, 3),
    ("all mask bits", lambda a: (a, np.full(SHAPE, -1), 1.0), 1, 3),
    ("counts of 1e30", lambda a: (1e30 * a.astype(float), None, 1e30), 1, 3),
    ("counts of 1e-30", lambda a: (1e-30 * a.astype(float), None, 1e-60), 3, 3),
    ("negative image", lambda a: (-a, None, 1.0), 3, 3),
    ("noise alone", lambda a: (np.random.default_rng(1).normal(size=SHAPE), None, 1.0), 3, 3),
    ("whole numbers", lambda a: (np.rint(a).astype(np.int64), None, 1.0), 0, 0),
    ("big-endian", lambda a: (a.astype(">f8"), None, 1.0), 0, 0),
    ("not contiguous", lambda a: (np.asfortranarray(a), None, 1.0), 0, 0),
    ("read-only", lambda a: (np.broadcast_to(a, SHAPE), np.broadcast_to(0, SHAPE), 1.0), 0, 0),
    ("mask of truth values", lambda a: (a, RARE, 1.0), None, None),
    ("masked array", lambda a: (np.ma.masked_array(a, RARE), None, 1.0), None, None),
]


@pytest.mark.parametrize("role", ["science", "template"])
@pytest.mark.parametrize(("name", "function", "as_science", "as_template"), PIXELS, ids=[entry[0] for entry in PIXELS])
def test_absurd_pixels(pair, name, function, as_science, as_template, role):
    image, mask, variance = function(pair[role == "science"].image)
    variance = np.broadcast_to(variance, SHAPE)
    bad = Exposure(MaskedImage.from_arrays(image, mask, variance), name=f"{name}.fits")
    exposures = (bad, pair[1]) if role == "template" else (pair[0], bad)
    allowed = as_template if role == "template" else as_science
    result = subtracted(*exposures)
    assert allowed in (None, result.exit_code if isinstance(result, PsfMatchError) else 0), result
    if isinstance(result, PsfMatchError):
        return
    difference = result.subtracted_exposure
    use = ~difference.masked_image.flagged(UNUSABLE)
    assert np.isfinite(difference.image[use]).all()
    assert (difference.variance[use] > 0).all()
    assert result.summary["kernel_sum"] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("shape", [(1, 150), (140, 1), (1, 1), (2, 2), (10, 10), (33, 33)])
def test_images_that_are_too_small(pair, shape):
    cut = [
        image.with_pixels(
            MaskedImage.from_arrays(*(p[: shape[0], : shape[1]] for p in (image.image, image.mask, image.variance)))
        )
        for image in pair
    ]
    with pytest.raises(
        PsfMatchError, match=r"is smaller than the smoothing kernel|no source was detected|can be a kernel"
    ):
        ImagePsfMatchTask().subtract_exposures(*cut, 3.3, 4.5)


@pytest.mark.parametrize(
    ("planes", "text"),
    [
        ({"image": np.ones(SHAPE, bool)}, "an image must hold real numbers, got an array of type bool"),
        ({"image": np.ones(SHAPE, complex)}, "an image must hold real numbers, got an array of type complex128"),
        ({"image": np.ones(SHAPE, object)}, "an image must hold real numbers, got an array of type object"),
        ({"image": np.ones((1, *SHAPE))}, "an image must have two dimensions"),
        ({"variance": np.ones(SHAPE, bool)}, "a variance must hold real numbers"),
        ({"mask": np.full(SHAPE, 0.5)}, "a mask must hold whole numbers"),
        ({"mask": np.full(SHAPE, np.nan)}, "a mask must hold whole numbers"),
        ({"mask": np.full(SHAPE, 2**40)}, "a mask has 32 bits, got values from 1099511627776"),
        ({"mask": np.full(SHAPE, "BAD")}, "a mask must hold real numbers, got an array of type <U3"),
    ],
)
def test_arrays_that_are_no_planes_are_refused(planes, text):
    with pytest.raises(InputError, match=text):
        MaskedImage.from_arrays(**{"image": np.ones(SHAPE), **planes})


def test_what_cannot_be_squared_is_no_data():
    counts = np.array([[1.0, LARGEST_COUNTS, -2 * LARGEST_COUNTS, 3e38]])
    variance = np.array([[1e37, 1.0, 1.0, 1.0]])
    made = MaskedImage.from_arrays(counts, np.array([[0, 2**31, 0, 0]], np.uint32), variance)
    assert made.flagged(["NO_DATA"]).tolist() == [[False, False, True, True]]
    assert made.flagged(["BAD"]).tolist() == [[True, False, False, False]]
    assert np.isnan(made.image[0, 2:]).all()
    assert made.mask[0, 1] == -(2**31)


# Files


def test_two_copies_of_one_file_are_refused(psfmatch, folder):
    ended = run(psfmatch, folder, template="s.fits")
    assert ended.status == 1
    assert "are copies of one image: the correlation of their noise is 1.0000" in ended.err
    assert run(psfmatch, folder, template="s.fits", command="match").status == 1


def test_allowed_copies_leave_nothing(psfmatch, folder):
    ended = run(psfmatch, folder, "--allow-identical", "--json", template="s.fits")
    assert ended.status == 0
    assert "means nothing" in ended.err
    assert strict(ended.out)["kernel_sum"] == pytest.approx(1, abs=0.005)
    with fits.open("o.fits") as hdus:
        use = hdus[2].data == 0
        # Two exposures would leave 1.4 counts; a delta function is not in the basis of Gaussians.
        assert np.std(hdus[1].data[use]) < 0.1


def test_a_sky_that_is_not_measured_is_said_so(psfmatch, tmp_path):
    small = gaussian_pair((1.4, 1.9), shape=(120, 120), n_stars=3, flux=(4e3, 2e4), xy0=(0, 0))
    for name, image in zip("ts", small[:2], strict=True):
        write_exposure(tmp_path / f"{name}.fits", image)
    ended = run(psfmatch, tmp_path)
    assert ended.status == 0
    assert "sky width not measured: " in ended.out
    with open("o_metadata.json", encoding="utf-8") as file:
        tasks = strict(file.read())["metadata"]["psfMatch"]["scalars"]
    assert tasks["skyWidth"] is None
    assert 0 < tasks["nSkyPixels"] < 10_000
    with fits.open("o.fits") as hdus:
        assert all("PMSKYW" not in hdu.header for hdu in hdus)


@pytest.mark.parametrize("option", ["--json", "--metadata-flat", "-v"])
def test_a_file_name_that_is_no_utf8(folder, pair, tmp_path, option):
    # A process of its own: the reports of the test workers cannot hold such names.
    name = os.fsdecode(b"caf\xe9.fits")
    write_exposure(tmp_path / name, pair[1])
    command = [sys.executable, "-m", "psfmatch_cli", "subtract", folder / "t.fits", tmp_path / name]
    command += ["-o", tmp_path / "o.fits", *FWHMS, option]
    ended = subprocess.run(command, capture_output=True, cwd=ROOT)
    assert ended.returncode == 0
    (ended.stdout + ended.stderr).decode("utf-8")
    with open(tmp_path / "o_metadata.json", encoding="utf-8") as file:
        record = strict(file.read())["metadata"]["run"]["metadata"]
    assert record["inputs"]["metadata"]["science"]["scalars"]["path"] == str(tmp_path / name)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.ones((25, 25)), "must have a peak, this one is constant"),
        (np.zeros((25, 25)), "with a positive sum"),
        (np.full((25, 25), np.nan), "must be two-dimensional and finite"),
        (gaussian_psf(90.0).image[150:-150, 150:-150], "must fall from a peak in its middle to below half of that"),
    ],
)
def test_a_psf_file_that_is_none(psfmatch, folder, tmp_path, image, text):
    fits.PrimaryHDU(image).writeto(tmp_path / "p.fits")
    ended = psfmatch("info", folder / "s.fits", "--psf", "p.fits")
    assert ended.status == 1
    assert text in ended.err
    assert "p.fits" in ended.err


def test_nonsense_of_a_header_is_measured_instead(psfmatch, pair, tmp_path):
    header = fits.Header([("FWHM", 1e6, "[pix]"), ("GAIN", 1.0)])
    fits.PrimaryHDU(pair[1].image + 100, header).writeto(tmp_path / "s.fits")
    ended = psfmatch("info", "s.fits", "--json")
    assert ended.status == 0
    assert "header FWHM = 1e+06 is no width of a PSF; it is not used" in ended.err
    assert strict(ended.out)["quantities"]["fwhm"]["source"].startswith("measured")


# Options and settings


@pytest.mark.parametrize("value", ["-1", "0", "1e-9", "1e6", "1e300", "nan", "inf", ""])
@pytest.mark.parametrize("option", ["--template-fwhm", "--science-fwhm"])
def test_absurd_widths_are_usage_errors(psfmatch, folder, option, value):
    ended = run(psfmatch, folder, option, value)
    assert ended.status == 2


@pytest.mark.parametrize(
    "setting",
    [
        "detection.n_sigma_for_kernel=1e300",
        "detection.n_sigma_to_grow=1e300",
        "detection.min_pixels=99999999999",
        "detection.deblend_thresholds=99999999",
        "candidates.fp_grow_kernel_scaling=1e300",
        "kernel.alard_gauss_beta=1e300",
        "kernel.alard_min_sig=1e300",
        "kernel.alard_sig_gauss=[1e300]",
        "kernel.alard_deg_gauss=[99]",
        "kernel.kernel_size_min=99",
        "kernel.kernel_size=0",
        "kernel.lambda_max=1e300",
        "threads=-1",
        "allow_identical=2",
    ],
)
def test_absurd_settings_are_usage_errors(psfmatch, folder, setting):
    ended = run(psfmatch, folder, "-c", setting)
    assert ended.status == 2
    assert setting.partition("=")[0] in ended.err


@pytest.mark.parametrize(
    ("rows", "more", "status", "text"),
    [
        ("x,y\nnan,3\n50,inf\n", (), 3, "2 not-finite"),
        ("x,y\n-50,3\n50,-1e300\n", (), 3, "2 outside"),
        ("x,y\nfoo,3\n", (), 2, "holds no plain numbers"),
        ("x,y\n", (), 3, "is empty"),
        ("", (), 3, "is empty"),
        ("x,y\n50,50\n", ("--sources-columns", "u,v"), 2, "there is no column 'u'"),
        ("x,y\n50,50\n", ("--sources-columns", ""), 2, "two columns are given as"),
    ],
)
def test_lists_of_sources_with_nonsense(psfmatch, folder, tmp_path, rows, more, status, text):
    (tmp_path / "list.csv").write_text(rows)
    ended = run(psfmatch, folder, "--sources", "list.csv", *more)
    assert ended.status == status
    assert text in ended.err


@pytest.mark.parametrize("command", ["match", "candidates"])
def test_images_of_nothing_are_refused_by_all_commands(psfmatch, folder, pair, tmp_path, command):
    nothing = replace(pair[1].masked_image, image=np.full(SHAPE, 7.0, np.float32))
    write_exposure(tmp_path / "n.fits", pair[1].with_pixels(nothing))
    output = "o.ecsv" if command == "candidates" else "o.fits"
    ended = psfmatch(command, folder / "t.fits", "n.fits", "-o", output, *FWHMS)
    assert ended.status == 3
    assert "no source was detected" in ended.err
