"""psfmatch info: as a list for people and as JSON for scripts, with the sources of all values."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import made_files as made

ROOT = Path(__file__).parents[1]


def entries(text):
    """Value and source of each named line of the list."""
    found = {}
    for line in text.splitlines():
        name, rest = line[:16].strip(), line[16:]
        value, _, source = rest.partition("  [")
        if name:
            found[name] = (value, source.removesuffix("]"))
    return found


def test_the_list_of_a_file_with_companions(psfmatch, tmp_path):
    path = made.ztf_files(tmp_path, [256, 1, 4])
    ended = psfmatch("info", path)
    assert (ended.status, ended.err) == (0, "")
    found = entries(ended.out)
    assert found["file"][0] == str(path)
    assert found["layout"][0] == "ztf (ZTF image)"
    assert found["size"][0] == "200 x 180 pixels"
    assert found["mask"][0] == f"HDU 0 of {path.name.replace('sciimg', 'mskimg')}"
    assert found["variance"][0].startswith("made: gain 2")
    assert found["psf"][0].startswith("file ")
    assert found["masked pixels"][0] == "BAD 1, SAT 1, CR 1"
    assert re.fullmatch(
        r"TAN, 1\.01 arcsec/pixel, rotated by -?0\.00 deg, centre at RA 150\.00000, Dec 2\.00000 deg", found["wcs"][0]
    )
    assert found["saturation"][1].startswith("mask, HDU 0 of ")
    assert found["read noise"] == ("6 e-", "header READNOI")
    assert found["header fwhm"] == ("3.1 pix", "header SEEING")
    assert found["filter"] == ("ZTF_r", "header FILTER")
    assert found["exposure time"] == ("30 s", "header EXPTIME")
    assert found["zero point"] == ("26.2 mag", "header MAGZP")
    assert found["unit"] == ("unknown", "")


def test_every_value_of_the_json_has_a_source(psfmatch, tmp_path):
    path = made.decam_files(tmp_path, [1, 3])
    ended = psfmatch("info", f"{path}[N4]", "--json")
    found = json.loads(ended.out)
    assert (ended.status, found["layout"], found["width"], found["height"]) == (0, "decam", 200, 180)
    assert found["planes"]["variance"] == "HDU 2 of c4d_190503_101849_oow_z_v1.fits.fz"
    assert found["masked"]["SAT"] == 1
    quantities = found["quantities"]
    assert all(set(entry) == {"value", "unit", "source"} and entry["source"] for entry in quantities.values())
    assert quantities["header_fwhm"] == {"value": 3.9, "unit": "pix", "source": "header FWHM"}
    assert quantities["gain"]["source"] == "mean of header GAINA, GAINB"
    assert quantities["sky_noise"]["value"] == pytest.approx(made.true_sky_variance() ** 0.5, rel=0.03)
    assert {"x", "y", "n_stars", "fwhm", "fwhm_err", "fwhm_model"} == set(found["fwhm_map"][0])
    assert found["warnings"] == []


def test_quick_reads_headers_alone(psfmatch, tmp_path):
    path = made.jwst_file(tmp_path / "cal.fits")
    full, quick = (json.loads(psfmatch("info", path, "--json", *more).out) for more in ((), ("--quick",)))
    for name in ("layout", "width", "height", "planes"):
        assert quick[name] == full[name]
    assert "sky" not in quick["quantities"]
    assert quick["quantities"].items() <= full["quantities"].items()
    # The pixels are gone, the headers are there.
    data = bytearray(path.read_bytes())
    with fits.open(path) as hdus:
        start = hdus["SCI"].fileinfo()["datLoc"]
    data[start : start + 4 * 200 * 180] = np.full(200 * 180, np.nan, ">f4").tobytes()
    path.write_bytes(data)
    assert psfmatch("info", path, "--quick").status == 0
    assert psfmatch("info", path).status == 1


def test_reading_options_are_those_of_other_commands(psfmatch, tmp_path):
    path = made.small_telescope_file(tmp_path / "a.fit", OURGAIN=2.0, OURFWHM=3.0)
    arguments = ("--keyword", "gain=OURGAIN", "--keyword", "fwhm=ourfwhm", "--saturation", "50000", "--band", "V")
    found = entries(psfmatch("info", path, *arguments).out)
    assert found["gain"][1].startswith("header OURGAIN")
    assert found["psf"][0] == "gaussian, FWHM of header OURFWHM"
    assert found["saturation"] == ("50000 counts", "option")
    assert found["filter"] == ("V", "option")
    forced = entries(psfmatch("info", path, "--layout", "ztf", "--quick").out)
    assert forced["layout"][0] == "ztf (ZTF image)"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["missing.fits"], 1),
        (["text.fits"], 1),
        (["a.fits[SCI]"], 1),
        (["a.fits", "--mask", "missing.fits"], 1),
        (["a.fits", "--keyword", "gain=NOSUCH"], 1),
        (["a.fits", "--layout", "hubble"], 2),
        (["a.fits", "--gain", "-1"], 2),
        (["nan.fits"], 1),
    ],
)
def test_errors_are_those_of_detect(arguments, status, psfmatch, tmp_path):
    Path("text.fits").write_text("no FITS file")
    made.save(Path("a.fits"), made.primary(made.counts()))
    made.save(Path("nan.fits"), made.primary(np.full(made.SHAPE, np.nan, np.float32)))
    info = psfmatch("info", *arguments)
    detect = psfmatch("detect", *arguments, "-o", "out.ecsv", "--no-metadata")
    assert (info.status, info.out) == (status, "")
    assert info.err == detect.err
    assert info.err.count("\n") == 1


def test_verbose_lines_tell_what_was_done(psfmatch, tmp_path):
    ended = psfmatch("info", made.swarp_files(tmp_path), "-v")
    assert "weight: HDU 0 of coadd.weight.fits, found beside it" in ended.err
    assert psfmatch("info", tmp_path / "coadd.fits", "-q").out == ""


def test_a_quick_look_costs_no_search_for_stars(tmp_path):
    path = made.small_telescope_file(tmp_path / "a.fit")
    code = (
        "import sys; from psfmatch_cli.cli import exit_status; "
        f"status = exit_status(['info', '--quick', {str(path)!r}]); "
        "print(status, sorted({'scipy', 'sep', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
