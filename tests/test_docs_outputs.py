"""The page on outputs names what runs write: every column, card and item, and none that there is not."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from test_fakes_score import made_fakes

from conftest import FWHMS
from doc_pages import GUIDE, code, rows, sections
from psfmatch_cli import cli
from psfmatch_cli.candidates import REASONS, STATUSES
from psfmatch_cli.exposure import DEFAULT_PLANES
from psfmatch_cli.fakes.compare import COLUMNS as FAKE_COLUMNS
from psfmatch_cli.fakes.score import COLUMNS as BIN_COLUMNS
from psfmatch_cli.fakes.score import summary_of
from psfmatch_cli.io import write_exposure
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.tables import read_table
from psfmatch_cli.task import resource_usage

PAGE = "\n".join(sections(GUIDE / "reference" / "outputs.rst").values())
IMAGES = ("diff", "diff_matched", "warped")
LOCAL_AND_SPATIAL = "Residuals of the candidates, with their own kernels (LOCAL) and with the model (SPATIAL)"
#: Cards of the template's file.
CARRIED = {"OBJECT": "M 31", "TELESCOP": "0.6 m", "INSTRUME": "CCD", "DATE-OBS": "2019-05-03", "EXPTIME": 30.0}
#: Cards of any FITS file, and of its celestial WCS.
STANDARD = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d?|EXTEND|PCOUNT|GCOUNT|EXTNAME|CHECKSUM|DATASUM|LONGSTRN|TFIELDS|T(TYPE|FORM|UNIT|DIM)\d+|"
    r"WCSAXES|(CRPIX|CDELT|CUNIT|CTYPE|CRVAL)\d|CD\d_\d|LONPOLE|LATPOLE|RADESYS"
)


def named(caption):
    """Names in the first column of a table of the page."""
    found = rows(PAGE, caption)
    assert found, caption
    return {name for row in found for name in code(row[0])}


def check(written, described):
    """Every written name is described, and every described one is written; <...> stands for a part of a name."""
    parts = {name: re.split(r"<\w+>", name) for name in described}
    patterns = {name: re.compile(".+".join(map(re.escape, part))) for name, part in parts.items()}
    assert {name for name in written if not any(p.fullmatch(name) for p in patterns.values())} == set()
    assert {name for name, p in patterns.items() if not any(map(p.fullmatch, written))} == set()


@pytest.fixture(scope="module")
def folder(pair, tmp_path_factory):
    """Folder with the products of one run of every command, of one that fails, and of one on a plain image."""
    where = tmp_path_factory.mktemp("outputs")
    files = [str(where / "template.fits"), str(where / "science.fits")]
    # With zero points, for the items that compare them.
    template = replace(pair.template, fluxmag0=1.00e9, filter="r", header=fits.Header(CARRIED))
    write_exposure(files[0], template)
    write_exposure(files[1], replace(pair.science, fluxmag0=1.25e9))
    more = ["--candidates", str(where / "fates.ecsv"), "--warped", str(where / "warped.fits")]
    more += ["--decorrelate", "--score", str(where / "score.fits"), "--diff-sources", str(where / "changes.ecsv")]
    # More stars than there are, for the card that says why a difference is not good.
    more += ["--quality", "full", "-c", "quality.min_stars=1000"]
    saved = ["--use-kernel", str(where / "diff_kernel.fits"), *FWHMS]
    image = np.random.default_rng(1).normal(100.0, 5.0, (128, 128)).astype(np.float32)
    fits.writeto(where / "plain.fits", image)
    plain = ["--gain", "4", "--read-noise", "2", "--saturation", "2e4", "--psf-fwhm", "4"]
    # Small delta functions, for the columns that they have and the covariance that few functions allow.
    deltas = ["-c", "kernel.kernel_basis_set=delta-function", "--kernel-size", "9", "--kernel-order", "0"]
    deltas += ["-c", "kernel.check_condition_number=true", "-c", "kernel.max_condition_number=1e30"]
    deltas += ["-c", "kernel.calculate_kernel_uncertainty=true"]
    for arguments in (
        ["subtract", *files, "-o", str(where / "diff.fits"), *FWHMS, *more],
        ["subtract", *files, "-o", str(where / "saved.fits"), *saved],
        ["match", *files, "-o", str(where / "deltas.fits"), *FWHMS, *deltas],
        ["detect", files[1], "-o", str(where / "found.ecsv")],
        ["detect", str(where / "diff.fits"), "-o", str(where / "changed.ecsv")],
        ["measure", str(where / "diff.fits"), files[1], "--at-pixel", "60,70", "-o", str(where / "curve.ecsv")],
        ["candidates", *files, "-o", str(where / "candidates.ecsv"), *FWHMS],
        ["detect", str(where / "plain.fits"), "-o", str(where / "plain.ecsv"), *plain],
        ["demo", str(where / "demo"), "--size", "64"],
    ):
        assert cli.exit_status(arguments) == 0, arguments
    limit = ["-c", "candidates.min_snr=1e9"]
    assert cli.exit_status(["match", *files, "-o", str(where / "failed.fits"), *FWHMS, *limit]) == 3
    return where


def cards(path):
    """Keywords of all headers of a file, but for those of any FITS file."""
    with fits.open(path) as hdus:
        return {card for hdu in hdus for card in hdu.header if not STANDARD.fullmatch(card)}


def hdu_names(path):
    with fits.open(path) as hdus:
        return {hdu.name for hdu in hdus}


def items(path):
    """Paths of all items of a record, without the single settings."""
    flat = TaskMetadata.from_json(path.read_text()).flat()
    return {re.sub(r"^(run\.setting(s|Sources)\.).*", r"\1key", name) for name in flat}


def summary(path):
    return {name.removeprefix("run.summary.") for name in items(path) if name.startswith("run.summary.")}


def test_hdus(folder):
    assert set.union(*(hdu_names(folder / f"{name}.fits") for name in IMAGES)) == named("HDUs")
    assert hdu_names(folder / "deltas_kernel.fits") == named("HDUs of the kernel file")
    assert hdu_names(folder / "diff_kernel.fits") == named("HDUs of the kernel file") - {"KERNEL_COVARIANCE"}


def test_mask_planes(folder):
    assert named("Planes") == set(DEFAULT_PLANES)
    assert {f"MP_{name}" for name in DEFAULT_PLANES} <= cards(folder / "diff.fits")


def test_cards(folder):
    images = set.union(*(cards(folder / f"{name}.fits") for name in IMAGES))
    described = (f"Cards of {what}" for what in ("the primary header", "the planes", "PSF_DATA"))
    check(images - {*CARRIED, "FILTER"}, set.union(*map(named, described)))
    kernel = named("Cards of the kernel file")
    assert kernel <= cards(folder / "diff_kernel.fits")
    check(cards(folder / "diff_kernel.fits") - kernel, named("Cards of the primary header") - {"FLUXMAG0"})


def test_columns_of_injected_sources():
    assert set(FAKE_COLUMNS) == named("Columns of the table of injected sources")
    assert set(BIN_COLUMNS) == named("Columns of the table of efficiency and purity")
    samples = summary_of(made_fakes(200))
    written = {f"{sample}.{name}" for sample, numbers in samples.items() for name in numbers}
    check(written, {name for name in named("fakes") if "." in name})


def test_columns(folder):
    found, fates = read_table(folder / "found.ecsv"), read_table(folder / "fates.ecsv")
    deltas = read_table(f"{folder / 'deltas_kernel.fits'}[CANDIDATES]")
    assert set(found.colnames) == named("Columns of the table of sources")
    assert set(found.meta) == named("Cards of the table of sources") | named("detect") - {"n_sources"}
    changes, changed = read_table(folder / "changes.ecsv"), read_table(folder / "changed.ecsv")
    assert set(changes.colnames) == named("Columns of the table of difference sources")
    assert changed.colnames == [
        name for name in changes.colnames if not name.startswith(("template", "science", "near"))
    ]
    assert set(changed.meta) == named("Cards of the table of difference sources")
    assert set(read_table(folder / "curve.ecsv").colnames) == named("Columns of a light curve")
    assert set(deltas.colnames) == named("Columns of the table of candidates")
    only_deltas = {"condition_number", "lambda", "lambda_relative"}
    assert set(fates.colnames) == named("Columns of the table of candidates") - only_deltas
    before = read_table(folder / "candidates.ecsv").colnames
    assert before == fates.colnames[: fates.colnames.index("round")], "the fit's columns come last"
    assert set(read_table(folder / "demo" / "truth.ecsv").colnames) == named("Columns of truth.ecsv")


def test_statuses_and_reasons():
    assert named("Statuses") == set(STATUSES)
    assert named("Reasons") == set(REASONS) - {""}


def test_items_of_the_record(folder):
    written = set.union(*(items(path) for path in folder.glob("*.json")))
    captions = ("The run", "The match, under the names of the upstream task where it has them", "The detection")
    captions += ("The quality of the difference", LOCAL_AND_SPATIAL, "Times and memory, of each task")
    check(written, set.union(*map(named, captions)))
    statistics = {m[1] for name in written if (m := re.fullmatch(r"psfMatch\.KCDiffim(\w+?)_.*", name))}
    assert named("Statistics of a candidate") == statistics
    assert named("Their quantities") == {"Utc", *resource_usage()}


def test_the_items_of_the_summary(folder):
    of_pairs = [summary(folder / f"{name}_metadata.json") for name in ("diff", "saved")]
    check(set.union(*of_pairs), named("match and subtract"))
    check(summary(folder / "candidates_metadata.json"), named("candidates"))
    check(summary(folder / "found_metadata.json"), named("detect"))
    check(summary(folder / "changed_metadata.json"), named("detect, on a difference"))
    check(summary(folder / "curve_metadata.json"), named("measure"))
    # The quality of a difference counts its sources, too.
    counted = {"n_positive", "n_negative"}
    only_outside = {"score_width", "kernel_file", *named("detect, on a difference")} - counted
    rows_of_info = fits.getdata(folder / "diff_kernel.fits", "INFO")["JSON"]
    assert {name.partition(".")[0] for name in named("match and subtract")} - only_outside == set(
        json.loads("\n".join(rows_of_info))
    )


def test_the_options_that_name_files_are_those_of_the_command(psfmatch):
    for row in rows(PAGE, "Files and their options"):
        for command in code(row[0]):
            for option in code(row[2]):
                assert f"{option} " in psfmatch(command, "--help").out, row
