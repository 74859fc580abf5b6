"""psfmatch report, and the page of psfmatch subtract."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from conftest import FWHMS
from html_pages import Page
from psfmatch_cli import cli
from psfmatch_cli.io import read_counts, read_exposure

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def run_folder(pair_folder, tmp_path_factory):
    """Folder with the files of one subtraction, named without the folder; not to be written to."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("template.fits", "science.fits"):
        shutil.copy(pair_folder / name, folder)
    products = ["-o", "diff.fits", "--report", "at_once.html"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.exit_status(["subtract", "template.fits", "science.fits", *products, *FWHMS]) == 0
    return folder


@pytest.fixture
def folder(run_folder, tmp_path):
    """A copy of the folder in another place, as if it had been moved."""
    return shutil.copytree(run_folder, tmp_path / "moved")


def report(psfmatch, folder, *arguments):
    """The page that the command makes."""
    ended = psfmatch("report", folder / "diff.fits", "-o", folder / "page.html", *arguments)
    assert ended.status == 0, ended.err
    return Page((folder / "page.html").read_text("utf-8")), ended


def test_the_page_is_made_of_the_files_of_the_run(psfmatch, folder):
    page, ended = report(psfmatch, folder)
    shown = "difference, template, science, matched, kernel, record"
    assert ended.out == f"report: {shown} -> {folder}/page.html\n"
    record = json.loads((folder / "diff_metadata.json").read_text())
    summary = record["metadata"]["run"]["metadata"]["summary"]["scalars"]
    for value in (summary["sky_width"], summary["kernel_sum"], summary["condition_number"]):
        assert f" {value:.4g} " in page.text
    for value in (summary["n_used"], summary["n_sources"]):
        assert f" {value} " in page.text
    for title in ("Template", "Science", "Matched", "Difference / noise"):
        assert any(alt.startswith(title) for alt in page.pictures()), title
    assert "Not on this page" not in page.text


def test_subtract_makes_the_same_page_at_once(psfmatch, folder):
    later, at_once = report(psfmatch, folder)[0], Page((folder / "at_once.html").read_text("utf-8"))
    for one, other in zip(later.pictures().items(), at_once.pictures().items(), strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])
    # The record on the page of subtract was finished an instant later.
    assert re.sub(r"\d+(\.\d+)? s", "", later.text) == re.sub(r"\d+(\.\d+)? s", "", at_once.text)


def test_inputs_that_have_changed_are_not_shown(psfmatch, folder):
    with fits.open(folder / "science.fits", mode="update") as hdus:
        hdus[1].data[0, 0] += 1
    (folder / "diff_kernel.fits").unlink()
    page, _ = report(psfmatch, folder)
    assert "science: no file of this run was found; --science names one" in page.text
    assert "kernel: no file of this run was found; --kernel names one" in page.text
    assert not any(alt.startswith("Science") for alt in page.pictures())
    page, _ = report(psfmatch, folder, "--science", folder / "science.fits", "--overwrite")
    assert any(alt.startswith("Science") for alt in page.pictures())


def test_products_of_another_run_are_not_shown(psfmatch, folder):
    for name in ("diff_kernel.fits", "diff_matched.fits"):
        fits.setval(folder / name, "PMRUN", value="another")
    fits.setval(folder / "diff.fits", "PMRUN", value="a third")
    page, _ = report(psfmatch, folder)
    assert "record: diff_metadata.json is of another run; --metadata uses it all the same" in page.text
    assert "matched: no file of this run was found" in page.text
    _, ended = report(psfmatch, folder, "--metadata", folder / "diff_metadata.json", "--overwrite")
    assert "diff_metadata.json is the record of another run than the one that made diff.fits" in ended.err


def test_no_path_of_a_card_is_followed(psfmatch, folder, tmp_path):
    (folder / "diff_metadata.json").unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(folder / "science.fits", elsewhere)
    fits.setval(folder / "diff.fits", "PMSCI", value=str(elsewhere / "science.fits"))
    page, _ = report(psfmatch, folder)
    assert "science: no file of this run was found" in page.text
    assert any(alt.startswith("Template") for alt in page.pictures()), "its name is found beside the difference"


def test_a_card_cannot_put_a_script_on_the_page(psfmatch, folder):
    evil = "<script>alert(1)</script>"
    fits.setval(folder / "template.fits", "OBJECT", value=evil)
    page, _ = report(psfmatch, folder, "--template", folder / "template.fits")
    assert evil in page.text
    assert len(page.all("script")) == 1


def test_a_template_on_another_grid_is_resampled(psfmatch, folder):
    exposure = read_exposure(folder / "template.fits")
    header = exposure.wcs.to_header()
    header["CRPIX1"] -= 40
    fits.writeto(folder / "cut.fits", exposure.masked_image.image[:, 40:], header)
    whole, _ = report(psfmatch, folder)
    page, _ = report(psfmatch, folder, "--template", folder / "cut.fits", "--overwrite")
    (one,), (other,) = (
        [picture for alt, picture in shown.pictures().items() if alt.startswith("Template")] for shown in (whole, page)
    )
    assert one.shape == other.shape
    # A shift of whole pixels changes no counts; the sky, which black is taken from, is another by a little.
    assert np.abs(one[20:-20, 60:-20].astype(int) - other[20:-20, 60:-20]).max() <= 6


def test_an_image_on_another_grid_is_left_out(psfmatch, folder):
    fits.writeto(folder / "small.fits", np.ones((50, 60), np.float32))
    page, _ = report(psfmatch, folder, "--matched", folder / "small.fits")
    assert "matched: small.fits is not on the grid of the difference" in page.text
    assert not any(alt.startswith("Matched") for alt in page.pictures())


def test_sources_of_the_difference_are_shown(psfmatch, folder):
    columns = {"x": [100.0], "y": [120.0], "snr": [9.5], "psf_flux": [-50.0], "polarity": [-1], "is_dipole": [False]}
    Table(columns).write(folder / "found.ecsv")
    page, _ = report(psfmatch, folder, "--diff-sources", folder / "found.ecsv")
    assert "1 sources: 0 brighter and 1 fainter in the science image" in page.text
    assert "stamps at x 100, y 120" in page.pictures()


def test_one_chip_of_many_has_its_own_page(psfmatch, pair_folder, tmp_path):
    for role in ("template", "science"):
        with fits.open(pair_folder / f"{role}.fits") as hdus:
            image, header = hdus["IMAGE"].data, fits.Header(hdus["IMAGE"].header, copy=True)
        chips = [fits.ImageHDU(image, header), fits.ImageHDU(image[:, ::-1] + 0, header)]
        for chip, name in zip(chips, ("N4", "S29"), strict=True):
            chip.header["EXTNAME"] = name
        fits.HDUList([fits.PrimaryHDU(), *chips]).writeto(tmp_path / f"{role}.fits")
    noise = [option for role in ("template", "science") for option in (f"--{role}-gain", "1.5")]
    files = [tmp_path / name for name in ("template.fits", "science.fits")]
    fixed = ["--kernel-order", "0", "--background-order", "0", "--kernel-size", "15"]
    ended = psfmatch("subtract", *files, "-o", "diff.fits", "--all-extensions", *noise, *FWHMS, *fixed)
    assert ended.status == 0, ended.err
    ended = psfmatch("report", "diff.fits[S29]", "-o", "page.html")
    assert ended.out == "report: difference, template, science, matched, kernel, record -> page.html\n", ended.err
    page = Page((tmp_path / "page.html").read_text("utf-8"))
    record = json.loads((tmp_path / "diff_metadata.json").read_text())["metadata"]
    summary = record["extensions"]["metadata"]["S29"]["metadata"]["run"]["metadata"]["summary"]["scalars"]
    assert f"of {summary['n_sources']} sources" in page.text
    assert f" {summary['kernel_sum']:.4g} " in page.text
    assert "Not on this page" not in page.text


def test_what_cannot_be_used_is_an_error(psfmatch, folder):
    diff, page = folder / "diff.fits", folder / "page.html"
    ended = psfmatch("report", folder / "nothing.fits", "-o", page)
    assert (ended.status, ended.err) == (1, f"psfmatch: error: {folder}/nothing.fits: no such file\n")
    ended = psfmatch("report", diff, "-o", folder / "page.txt")
    assert (ended.status, ended.err.strip().endswith("the name of a page must end in .html or .htm")) == (2, True)
    ended = psfmatch("report", diff, "-o", folder / "at_once.html")
    assert ended.status == 1
    ended = psfmatch("report", diff, "-o", page, "--metadata", diff)
    assert (ended.status, "not a record of psfmatch" in ended.err) == (1, True)
    Table({"x": [1.0]}).write(folder / "short.ecsv")
    ended = psfmatch("report", diff, "-o", page, "--diff-sources", folder / "short.ecsv")
    assert (ended.status, "short.ecsv: no column y, snr, psf_flux, polarity, is_dipole" in ended.err) == (1, True)
    assert not page.exists()
    ended = psfmatch("subtract", diff, diff, "-o", folder / "x.fits", "--report", folder / "x.html", "--all-extensions")
    assert (ended.status, "--report is of one image" in ended.err) == (2, True)


def test_counts_are_read_without_noise(pair_folder):
    path = pair_folder / "science.fits"
    counts, exposure = read_counts(path), read_exposure(path)
    np.testing.assert_array_equal(counts.masked_image.image, exposure.masked_image.image)
    assert (counts.xy0, counts.name, counts.header) == (exposure.xy0, exposure.name, exposure.header)
    assert np.all(counts.masked_image.variance == 1)


#: Presses keys as a user would, and leaves on the body what is seen.
PROBE = """
const seen = [], press = key => document.dispatchEvent(new KeyboardEvent("keydown", {key}));
const visible = () => [...document.querySelectorAll(".panel")].filter(p => p.offsetParent);
const shown = () => visible().map(p => p.dataset.role).join();
const note = what => seen.push(what + ":" + shown());
const moved = () => [...document.querySelectorAll(".moved")].map(m => m.style.transform);
note("first"); press("2"); note("2"); press("4"); note("4"); press("b"); note("b"); press("0"); note("0");
press("+"); press("+"); seen.push("zoom:" + new Set(moved()).size + ":" + /scale\\(2.25\\)/.test(moved()[0]));
press("r"); seen.push("reset:" + /scale\\(1\\)/.test(moved()[0]));
seen.push("images:" + [...document.images].every(i => i.complete && i.naturalWidth));
document.body.dataset.seen = seen.join(" ");
"""


def in_browser(page, tmp_path, *options):
    """What headless Chromium prints of a page."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, *options, page.as_uri()], capture_output=True, timeout=120, check=True)
    return done.stdout.decode()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this computer")
def test_keys_work_in_a_browser(run_folder, tmp_path):
    text = (run_folder / "at_once.html").read_text("utf-8")
    probed = tmp_path / "probed.html"
    # The policy of the page runs no script but its own, so it is loosened for the probe.
    loosened = re.sub(r"script-src &#x27;[^;\"]*", "script-src 'unsafe-inline'", text)
    probed.write_text(loosened.replace("</body>", f"<script>{PROBE}</script></body>"), "utf-8")
    (seen,) = re.findall(r'data-seen="([^"]*)"', in_browser(probed, tmp_path, "--dump-dom"))
    everything = "template,science,matched,difference"
    assert seen.split(" ") == [
        f"first:{everything}",
        "2:science",
        "4:difference",
        "b:science",
        f"0:{everything}",
        "zoom:1:true",
        "reset:true",
        "images:true",
    ]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this computer")
def test_a_browser_runs_no_other_script_and_shows_a_page(run_folder, tmp_path):
    page = tmp_path / "page.html"
    text = (run_folder / "at_once.html").read_text("utf-8")
    page.write_text(text.replace("</body>", "<script>document.body.dataset.evil = 1</script></body>"), "utf-8")
    dumped = in_browser(page, tmp_path, "--dump-dom")
    assert 'style="transform' not in dumped
    assert "data-evil" not in dumped
    shot = tmp_path / "shot.png"
    in_browser(page, tmp_path, f"--screenshot={shot}", "--window-size=1200,900")
    assert shot.stat().st_size > 50_000, "an empty page is 10 kB"
