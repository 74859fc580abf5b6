"""psfmatch subtract: the products, their pixels and cards, and the record of the run."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from conftest import FWHMS
from psfmatch_cli import cli
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.io import read_exposure
from psfmatch_cli.kernel_io import load_kernel
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.provenance import describe_file
from psfmatch_cli.settings import load_settings, settings_from

SETTINGS = ("--kernel-order", "0", "--background-order", "1")


def record_of(path):
    return TaskMetadata.from_json(path.read_text())


@pytest.fixture(scope="module")
def products(pair_folder, tmp_path_factory):
    """Folder with the products of one run."""
    folder = tmp_path_factory.mktemp("products")
    files = [str(pair_folder / "template.fits"), str(pair_folder / "science.fits"), "-o", str(folder / "diff.fits")]
    assert cli.exit_status(["subtract", *files, *FWHMS, *SETTINGS, "--warped", str(folder / "warped.fits")]) == 0
    return folder


@pytest.fixture(scope="module")
def expected(pair_folder):
    """What the task makes of the same files and settings."""
    settings = settings_from({"kernel.spatial_kernel_order": 0, "kernel.spatial_bg_order": 1})
    exposures = (read_exposure(pair_folder / f"{role}.fits") for role in ("template", "science"))
    return ImagePsfMatchTask(settings).subtract_exposures(*exposures, 3.4, 4.6)


@pytest.fixture
def files(pair_folder):
    """Beginning of a command line."""
    return "subtract", pair_folder / "template.fits", pair_folder / "science.fits", "-o", "diff.fits", *FWHMS, *SETTINGS


def test_the_products_are_those_of_the_task(products, expected):
    names = ["diff.fits", "diff_kernel.fits", "diff_matched.fits", "diff_metadata.json", "warped.fits"]
    assert sorted(path.name for path in products.iterdir()) == names
    for name, exposure in (
        ("diff.fits", expected.subtracted_exposure),
        ("diff_matched.fits", expected.matched_exposure),
        ("warped.fits", expected.warped_exposure),
    ):
        written = read_exposure(products / name)
        for plane in ("image", "mask", "variance"):
            np.testing.assert_array_equal(getattr(written, plane), getattr(exposure, plane), err_msg=f"{name} {plane}")
    saved = load_kernel(products / "diff_kernel.fits")
    np.testing.assert_array_equal(saved.kernel.coefficients, expected.psf_matching_kernel.coefficients)
    np.testing.assert_array_equal(saved.background.coefficients, expected.background_model.coefficients)
    assert list(saved.candidates["reason"]) == list(expected.kernel_cell_set.table["reason"])
    assert saved.info["convolved"] == "template"


def test_what_changed_is_in_the_difference(products, pair):
    difference = read_exposure(products / "diff.fits")
    sky = difference.image[np.isfinite(difference.image)]
    # The sky of the difference is 0 within a few times its error, 0.05 counts for 20 counts rms and 1e5 pixels.
    assert abs(np.median(sky)) < 1
    for source in pair.transients:
        x, y = round(source["x"]), round(source["y"])
        if source["snr"] > 20 and min(x, y) >= 12 and max(x, y) < 308:
            assert np.sign(np.nansum(difference.image[y - 4 : y + 5, x - 4 : x + 5])) == np.sign(source["flux"])


def test_the_cards_say_how_the_difference_was_made(products, expected):
    header = fits.getheader(products / "diff.fits")
    summary = expected.summary
    assert header["PROGRAM"] == "PSFMATCH"
    assert (header["PMTMPL"], header["PMSCI"]) == ("template.fits", "science.fits")
    assert (header["TARGET"], header["TEMPLATE"], header["DIFFIM"]) == ("science.fits", "template.fits", "diff.fits")
    assert (header["CONVOL00"], header["PHOTNORM"], header["PMCONV"]) == ("TEMPLATE", "IMAGE", "template")
    assert header["KSUM00"] == header["PMKSUM"] == summary["kernel_sum"]
    # The simulated flux ratio, within the 1 % that some 20 stars on this small field give.
    assert abs(header["PMKSUM"] - 1.25) < 0.0125
    assert header["PMNGOOD"] == summary["n_used"]
    assert header["PMNBAD"] == summary["n_rejected"]
    assert header["PMNCAND"] == summary["n_candidates"]
    assert (header["PMKSIZE"], header["PMFWHMT"], header["PMFWHMS"]) == (summary["kernel_size"], 3.4, 4.6)
    assert header["PMBG1"] == expected.background_model.coefficients[0]
    history = "\n".join(header["HISTORY"])
    assert "diff.fits --template-fwhm 3.4" in history.replace("\n", "")
    assert "psfmatch setting kernel.spatial_kernel_order = 0" in history
    assert "kernel_size_min" not in history


def test_the_record_tells_how_the_run_went(products, pair_folder, expected):
    document = record_of(products / "diff_metadata.json")
    run = document["run"]
    assert (run["status"], run["exitCode"], run["command"]) == ("ok", 0, "subtract")
    science = pair_folder / "science.fits"
    assert run["inputs.science"].scalars == describe_file(science)
    assert run.get_array("arguments")[0] == "subtract"
    assert run["outputs.difference"] == str(products / "diff.fits")
    assert run["outputs.matched image"] == str(products / "diff_matched.fits")
    assert run["noise.science.origin"] == "plane"
    assert run["settings.kernel.spatial_kernel_order"] == 0
    assert run["summary.n_used"] == expected.summary["n_used"]
    assert document["psfMatch.nGood"] == expected.summary["n_used"]
    assert document["psfMatch:selectDetection.nGrow"] > 0
    assert len(document["psfMatch"].get_array("subtractExposuresEndCpuTime")) == 1
    assert "nodeName" in document["psfMatch"]


def test_the_summary_is_one_line_on_stdout(files, psfmatch):
    ended = psfmatch(*files)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("subtract: template convolved, ")
    assert ended.out.endswith("-> diff.fits\n")
    assert ended.out.count("\n") == 1


def test_products_can_be_turned_off_and_the_summary_be_json(files, psfmatch, tmp_path):
    ended = psfmatch(*files, "--no-matched", "--kernel", "none", "--metadata", "none", "--json", "-q")
    assert ended.status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["diff.fits"]
    summary = json.loads(ended.out)
    assert summary["convolved"] == "template"
    assert summary["n_used"] > 10


def test_products_can_be_named_and_candidates_asked_for(files, psfmatch, tmp_path):
    ended = psfmatch(*files, "--matched", "m.fits.gz", "--kernel", "k.fits", "--candidates", "c.ecsv", "--no-host")
    assert ended.status == 0
    names = ["c.ecsv", "diff.fits", "diff_metadata.json", "k.fits", "m.fits.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert "used" in set(Table.read(tmp_path / "c.ecsv")["status"])
    assert "nodeName" not in record_of(tmp_path / "diff_metadata.json")["psfMatch"]


def test_v_tells_the_stages_and_q_is_silent(files, psfmatch):
    loud = psfmatch(*files, "-v")
    assert "candidates: " in loud.err
    assert "science science.fits: 320 x 320 pixels" in loud.err
    quiet = psfmatch(*files, "-q", "--overwrite")
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")


def test_convolving_the_science_image_keeps_its_scale_and_sign(files, psfmatch, tmp_path, pair):
    # The sharper image is the template: this deconvolves, so only the bookkeeping is looked at.
    assert psfmatch(*files, "--convolve", "science").status == 0
    header = fits.getheader(tmp_path / "diff.fits")
    assert (header["CONVOL00"], header["PHOTNORM"]) == ("IMAGE", "IMAGE")
    assert fits.getheader(tmp_path / "diff_matched.fits")["PHOTNORM"] == "TEMPLATE"
    # Template counts per science count, within 3 %: a deconvolution is noisier.
    assert abs(header["KSUM00"] - 0.8) < 0.024


def test_existing_files_are_replaced_only_on_request(files, psfmatch, tmp_path):
    assert psfmatch(*files).status == 0
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    ended = psfmatch(*files)
    assert ended.status == 1
    assert "already exists; use --overwrite to replace it" in ended.err
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert psfmatch(*files, "--overwrite").status == 0
    assert record_of(tmp_path / "diff_metadata.json")["run.status"] == "ok"
    assert all(path.stat().st_mtime_ns != before[path.name] for path in tmp_path.iterdir())


def test_a_run_without_candidates_leaves_its_reasons_and_can_be_repeated(files, psfmatch, tmp_path):
    Table({"x": [1.0, 2.0, -50.0], "y": [1.0, 2.0, 10.0]}).write(tmp_path / "corner.ecsv")
    ended = psfmatch(*files, "--sources", "corner.ecsv")
    assert ended.status == 3
    assert ended.err.startswith("psfmatch: error: none of 3 sources can be a kernel candidate")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corner.ecsv", "diff_metadata.json"]
    run = record_of(tmp_path / "diff_metadata.json")["run"]
    assert (run["status"], run["exitCode"], run["errorType"]) == ("failed", 3, "AllRefusedError")
    assert run["counts"].scalars == {"sources": 3, "candidates": 0, "outside": 1, "too-small": 2}
    assert run["inputs.sources.sha256"] == describe_file(tmp_path / "corner.ecsv")["sha256"]
    assert psfmatch(*files).status == 0
    assert record_of(tmp_path / "diff_metadata.json")["run.status"] == "ok"


def test_a_missing_input_is_one_line_and_recorded(psfmatch, tmp_path, pair_folder):
    ended = psfmatch("subtract", "missing.fits", pair_folder / "science.fits", "-o", "diff.fits")
    assert ended.status == 1
    assert "missing.fits" in ended.err
    assert ended.err.count("\n") == 1
    run = record_of(tmp_path / "diff_metadata.json")["run"]
    assert (run["errorType"], run["inputs.template.path"]) == ("InputError", "missing.fits")


def test_a_crash_inside_is_recorded_and_leaves_no_products(files, psfmatch, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("psfmatch_cli.psf_match.match", fail)
    ended = psfmatch(*files)
    assert (ended.status, ended.err) == (1, "psfmatch: error: not enough memory\n")
    assert [path.name for path in tmp_path.iterdir()] == ["diff_metadata.json"]
    document = record_of(tmp_path / "diff_metadata.json")
    assert document["run.errorType"] == "MemoryError"
    assert "subtractExposuresEndUtc" in document["psfMatch"]


@pytest.fixture
def calibrated(pair_folder, tmp_path):
    """Beginning of a command line on the pair with zero points that agree with its flux ratio."""
    for role, zero_point in (("template", 25.0), ("science", 25.0 + 2.5 * np.log10(1.25))):
        with fits.open(pair_folder / f"{role}.fits") as hdus:
            hdus[0].header["MAGZERO"] = (zero_point, f"of the {role}")
            hdus[0].header["FLUXMAG0"] = 10 ** (0.4 * zero_point)
            hdus[1].header["BUNIT"] = f"{role} adu"
            hdus.writeto(tmp_path / f"{role}.fits")
    return "subtract", "template.fits", "science.fits", "-o", "diff.fits", *FWHMS, *SETTINGS


def calibration_of(path):
    header = read_exposure(path).header
    return header["PHOTNORM"], header["MAGZERO"], round(header["FLUXMAG0"] / 1e10, 6), header["BUNIT"]


TEMPLATE, SCIENCE = ("TEMPLATE", 25.0, 1.0, "template adu"), ("IMAGE", pytest.approx(25.2422752), 1.25, "science adu")


@pytest.mark.parametrize("convolved", ["template", "science"])
@pytest.mark.parametrize(("normalize", "calibration"), [("science", SCIENCE), ("template", TEMPLATE)])
def test_the_scale_of_the_difference_is_that_of_its_cards(
    calibrated, convolved, normalize, calibration, psfmatch, tmp_path
):
    ended = psfmatch(*calibrated, "--convolve", convolved, "--normalize", normalize, "--warped", "warped.fits")
    assert ended.status == 0
    assert calibration_of(tmp_path / "diff.fits") == calibration
    # The matched image has the counts of what it was matched to, the template its own.
    assert calibration_of(tmp_path / "diff_matched.fits") == (SCIENCE if convolved == "template" else TEMPLATE)
    assert calibration_of(tmp_path / "warped.fits") == TEMPLATE
    header = fits.getheader(tmp_path / "diff.fits")
    expected = 1.25 if convolved == "template" else 0.8
    assert header["PMKEXP"] == pytest.approx(expected, rel=1e-9)
    assert header["PMKSUM"] == header["KSUM00"] == pytest.approx(expected, rel=0.03)
    assert f"({header['PMKSUM'] / expected:.3f} of the calibrations')" in ended.out
    assert ("in template counts" in ended.out) == (normalize == "template")
    document = record_of(tmp_path / "diff_metadata.json")
    assert document["psfMatch.normalize"] == document["run.summary.normalize"] == normalize
    assert document["psfMatch.expectedKernelSum"] == header["PMKEXP"]
    assert document["run.settings.subtraction.normalize"] == normalize


def test_the_scale_divides_the_pixels(files, psfmatch, tmp_path, products):
    assert psfmatch(*files, "--normalize", "template").status == 0
    one, two = (read_exposure(folder / "diff.fits") for folder in (products, tmp_path))
    total = fits.getval(tmp_path / "diff.fits", "PMKSUM")
    assert total == fits.getval(products / "diff.fits", "PMKSUM")
    inner = np.isfinite(one.image)
    np.testing.assert_allclose(two.image[inner] * total, one.image[inner], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(two.variance[inner] * total**2, one.variance[inner], rtol=1e-5)


def test_a_zero_point_that_is_wrong_is_warned_of(calibrated, psfmatch, tmp_path):
    with fits.open(tmp_path / "science.fits", mode="update") as hdus:
        hdus[0].header["FLUXMAG0"] = 2e10
    ended = psfmatch(*calibrated)
    assert ended.status == 0
    assert "psfmatch: warning: kernel sum 1.2" in ended.err
    assert "times that of the calibrations (2.0000); are both zero points right?" in ended.err


def test_an_order_that_the_sources_do_not_hold_is_lowered_or_refused(files, psfmatch, tmp_path, products):
    kernel = load_kernel(products / "diff_kernel.fits")
    stars = kernel.candidates[kernel.candidates["status"] == "used"][:5]
    stars["x", "y"].write(tmp_path / "five.ecsv")
    command = (*files, "--kernel-order", "2", "--sources", "five.ecsv")
    ended = psfmatch(*command)
    assert ended.status == 0
    text = "spatial order of the kernel lowered from 2 to 1: 5 good candidates"
    assert f"psfmatch: warning: {text}\n" in ended.err
    assert fits.getval(tmp_path / "diff.fits", "PMKORDER") == 1
    # A line of HISTORY ends within the text.
    start = f"psfmatch adaptation: {text.removesuffix(' good candidates')}"
    assert start in "".join(fits.getheader(tmp_path / "diff.fits")["HISTORY"])
    document = record_of(tmp_path / "diff_metadata.json")
    assert document["psfMatch"].get_array("adaptations") == document["run.summary"].get_array("adaptations") == [text]
    assert document["run"].get_array("warnings")[0] == text
    refused = psfmatch(*command, "--no-adapt", "--strict", "--overwrite", "--metadata", "refused.json")
    assert refused.status == 3
    assert "psfmatch: error: the kernel is underconstrained: 5 good candidates for 6 spatial terms" in refused.err
    assert record_of(tmp_path / "refused.json")["run.errorType"] == "UnderconstrainedError"


def test_deconvolving_is_warned_of(files, psfmatch):
    ended = psfmatch(*files, "--convolve", "science")
    assert "the other choice is to convolve the template image (--convolve template)" in ended.err


def test_images_on_different_grids_are_refused_without_warping(files, psfmatch, tmp_path, pair_folder):
    with fits.open(pair_folder / "template.fits") as hdus:
        for hdu in hdus[1:4]:
            hdu.header["CRPIX1"] += 5.0
        hdus.writeto(tmp_path / "shifted.fits")
    ended = psfmatch("subtract", "shifted.fits", *files[2:], "--no-warp")
    assert ended.status == 1
    assert "different pixel grids" in ended.err


def test_settings_come_from_all_sources_and_the_record_says_from_where(files, psfmatch, tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text("[kernel]\nsizeCellX = 64\nsize_cell_y = 64\nn_star_per_cell = 4\n")
    monkeypatch.setenv("PSFMATCH_KERNEL_N_STAR_PER_CELL", "6")
    monkeypatch.setenv("PSFMATCH_KERNEL_SIZE_CELL_Y", "70")
    given = (
        "--config",
        "a.toml",
        "-c",
        "kernel.size_cell_y=80",
        "--kernel-size",
        "19",
        "--sigma",
        "8",
        "--no-fit-background",
    )
    ended = psfmatch(*files, *given, "-c", "kernel.fit_for_background=true")
    assert ended.status == 0
    run = record_of(tmp_path / "diff_metadata.json")["run"]
    expected = {
        "kernel.size_cell_x": (64, "file a.toml"),
        "kernel.n_star_per_cell": (6, "environment PSFMATCH_KERNEL_N_STAR_PER_CELL"),
        "kernel.size_cell_y": (80, "option -c"),
        "kernel.kernel_size": (19, "option --kernel-size"),
        "detection.threshold_value": (8.0, "option --sigma"),
        "kernel.fit_for_background": (False, "option --no-fit-background"),
        "threads": (load_settings().threads, "default"),
    }
    assert {key: (run[f"settings.{key}"], run[f"settingSources.{key}"]) for key in expected} == expected
    assert run["inputs.config.path"] == "a.toml"
    assert load_kernel(tmp_path / "diff_kernel.fits").kernel.size == 19


def test_the_settings_file_and_the_preset_may_be_the_environments(files, psfmatch, tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text("[kernel]\nfit_for_background = true\n")
    monkeypatch.setenv("PSFMATCH_CONFIG", "a.toml")
    monkeypatch.setenv("PSFMATCH_PRESET", "v23")
    assert psfmatch(*files).status == 0
    run = record_of(tmp_path / "diff_metadata.json")["run"]
    assert run["inputs.config.sha256"] == describe_file(tmp_path / "a.toml")["sha256"]
    assert run["settingSources.kernel.wing_gaussian"] == "preset v23"
    assert run["settingSources.kernel.fit_for_background"] == "file a.toml"
    history = "".join(fits.getheader(tmp_path / "diff.fits")["HISTORY"])
    assert "psfmatch setting kernel.wing_gaussian = False" in history
    assert "fit_for_background" not in history  # is as by default
    kernel = load_kernel(tmp_path / "diff_kernel.fits").kernel
    # Spring 2023: no wing Gaussian, so 15 + 6 + 6 functions. The sigma between the FWHMs is 1.316 px and comes first,
    # the last is four times that: int(6 x 5.26) = 31.
    assert (kernel.size, len(kernel.basis)) == (31, 27)


def test_an_unknown_variable_is_a_usage_error(files, psfmatch, monkeypatch):
    monkeypatch.setenv("PSFMATCH_KERNEL_KERNEL_SIZ", "21")
    ended = psfmatch(*files)
    assert ended.status == 2
    assert (
        "unknown environment variable PSFMATCH_KERNEL_KERNEL_SIZ; did you mean PSFMATCH_KERNEL_KERNEL_SIZE" in ended.err
    )


def test_a_wrong_setting_is_a_usage_error_with_a_hint(files, psfmatch, tmp_path):
    ended = psfmatch(*files, "-c", "kernel.kernelsize_mn=3")
    assert ended.status == 2
    assert "did you mean kernel.kernel_size_min" in ended.err
    ended = psfmatch(*files, "--kernel-order", "high")
    assert ended.status == 2
    assert "kernel.spatial_kernel_order = 'high'" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["diff_metadata.json"]
    assert "'high'" in record_of(tmp_path / "diff_metadata.json")["run.errorMessage"]


def test_the_settings_can_be_printed_without_any_file(psfmatch, tmp_path):
    ended = psfmatch("subtract", "--dump-config", "--kernel-order", "1", "-c", "warp.interp_length=0")
    assert ended.status == 0
    (tmp_path / "all.toml").write_text(ended.out)
    made = load_settings(tmp_path / "all.toml")
    assert made == settings_from({"kernel.spatial_kernel_order": 1, "warp.interp_length": 0})


def test_plain_images_are_read_with_the_options_of_their_role(psfmatch, tmp_path, pair):
    for role in ("template", "science"):
        exposure = getattr(pair, role)
        fits.writeto(tmp_path / f"{role}.fits", exposure.image)
        flags = np.where(exposure.masked_image.flagged(["SAT"]), 2, 0)
        flags[exposure.masked_image.flagged(["BAD", "CR"])] = 1
        fits.writeto(tmp_path / f"{role}_mask.fits", flags.astype(np.uint8))
    fits.writeto(tmp_path / "sigma.fits", np.sqrt(pair.template.variance))
    ended = psfmatch(
        *("subtract", "template.fits", "science.fits", "-o", "diff.fits", *FWHMS, *SETTINGS),
        *("--template-mask", "template_mask.fits", "--template-mask-map", "1=BAD,2=SAT"),
        *("--science-mask", "science_mask.fits", "--science-mask-map", "1=BAD,2=SAT"),
        *("--template-noise", "sigma.fits", "--science-gain", "2.0", "--science-read-noise", "6"),
    )
    assert ended.status == 0
    assert fits.getval(tmp_path / "diff.fits", "PMKSUM") == pytest.approx(1.25, rel=0.01)  # as from the full planes
    run = record_of(tmp_path / "diff_metadata.json")["run"]
    assert run["noise.template.origin"] == "noise file"
    assert (run["noise.science.origin"], run["noise.science.gain"]) == ("gain", 2.0)
    assert run["noise.science.sources.gain"] == "option"
    roles = {"template", "science", "template_mask", "science_mask", "template_noise"}
    assert set(run["inputs"].metadata) == roles


@pytest.mark.parametrize("text", ["SAT", "x=SAT", "1=SAT,,2=BAD"])
def test_a_mask_map_of_another_form_is_refused(text, files, psfmatch):
    ended = psfmatch(*files, "--template-mask-map", text)
    assert ended.status == 2
    assert "VALUE=PLANE" in ended.err


def test_threads_do_not_change_the_pixels(files, psfmatch, tmp_path, products):
    assert psfmatch(*files, "--threads", "2").status == 0
    one, two = (fits.getdata(folder / "diff.fits", "IMAGE") for folder in (products, tmp_path))
    np.testing.assert_array_equal(one, two)
