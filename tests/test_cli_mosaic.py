"""--all-extensions: every chip of two files, in one file each; the pixels are those of runs on single extensions."""

import json
import signal
import weakref
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from conftest import FWHMS
from doc_pages import GUIDE, code, rows, sections
from made_files import compressed, extension, hst_file, primary, save
from psfmatch_cli import cli
from psfmatch_cli.cli.exits import INTERRUPTED, Stopped
from psfmatch_cli.cli.extension_loop import attempt, exit_status
from psfmatch_cli.cli.work import Work
from psfmatch_cli.errors import FitError, InputError
from psfmatch_cli.fitswrite import wcs_cards
from psfmatch_cli.io import read_exposure, write_exposure
from psfmatch_cli.kernel_io import load_kernel
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.simulate import preset, simulate_pair
from psfmatch_cli.tables import read_table

SETTINGS = ("--kernel-order", "0", "--background-order", "0", "--kernel-size", "15")
FAST = (*FWHMS, *SETTINGS)
PLANES = ("image", "mask", "variance")
SIDE = 200


@pytest.fixture(scope="module")
def pairs():
    """Three pairs of small images, by the name of the chip."""
    few = {"n_stars": 24, "faintest_snr": 20, "n_galaxies": 1, "n_transients": 2}
    clean = {"bad_columns": 0, "dead_pixels": 2, "cosmic_rays": 2, "psf_variation": 0}
    configs = (preset("demo", width=SIDE, height=SIDE, seed=seed, **few, **clean) for seed in (1, 2, 3))
    return dict(zip(("N4", "S29", "N9"), map(simulate_pair, configs), strict=True))


def decam_trio(folder, exposures, number):
    """Image, data quality and weight of the community pipeline in three tile-compressed files; the path of the first.

    `exposures` are those of the chips by name, in the order of the file.
    """
    head = {"INSTRUME": "DECam", "PROCTYPE": "InstCal", "PLVER": "V4.8.2", "EXPTIME": 30.0, "OBJECT": "field"}
    made = {
        kind: [primary(PRODTYPE=product, **head)]
        for kind, product in zip("idw", ("image", "dqmask", "wtmap"), strict=True)
    }
    for n, (name, exposure) in enumerate(exposures.items(), start=1):
        mask = np.where(exposure.masked_image.flagged(["BAD", "CR"]), 1, 0).astype(np.int32)
        planes = {"i": exposure.image, "d": mask, "w": (1 / exposure.variance).astype(np.float32)}
        for kind, plane in planes.items():
            made[kind].append(compressed(plane, name, CCDNUM=10 * n, DETPOS=name))
        made["i"][-1].header.update(wcs_cards(exposure.wcs))
    paths = {kind: folder / f"c4d_{number}_101849_oo{kind}_z_v1.fits.fz" for kind in made}
    for kind, hdus in made.items():
        save(paths[kind], *hdus)
    return paths["i"]


def flat(exposure, seed):
    """The exposure with nothing in it but its noise: there is no candidate."""
    noise = np.random.default_rng(seed).normal(size=exposure.shape) * np.sqrt(exposure.variance) + 1000
    return exposure.with_pixels(
        type(exposure.masked_image)(**{**vars(exposure.masked_image), "image": noise.astype("f4")})
    )


@pytest.fixture(scope="module")
def folder(pairs, tmp_path_factory):
    """Folder with two DECam exposures of three chips in different order, and the products of subtracting them.

    Of N9 there is no science image, of S7 no template.
    """
    where = tmp_path_factory.mktemp("decam")
    template = decam_trio(where, {name: pair.template for name, pair in pairs.items()}, 1)
    science = decam_trio(where, {n: pairs[p].science for n, p in (("S29", "S29"), ("S7", "N9"), ("N4", "N4"))}, 2)
    ended = cli.exit_status(["subtract", str(template), str(science), *command_line(where)])
    assert ended == 0
    return where


def command_line(where, name="diff"):
    further = ["--warped", str(where / f"{name}_warped.fits"), "--candidates", str(where / f"{name}_fates.ecsv")]
    return ["-o", str(where / f"{name}.fits"), "--all-extensions", *FAST, *further]


def files(folder):
    return [folder / f"c4d_{number}_101849_ooi_z_v1.fits.fz" for number in (1, 2)]


def record_of(path):
    return TaskMetadata.from_json(path.read_text())


def test_every_chip_is_that_of_a_run_on_its_extension(folder, psfmatch):
    template, science = files(folder)
    for name in ("N4", "S29"):
        single = psfmatch("subtract", f"{template}[{name}]", f"{science}[{name}]", "-o", f"{name}.fits", *FAST)
        assert single.status == 0
        for product in ("", "_matched"):
            of_mosaic = read_exposure(f"{folder / f'diff{product}.fits'}[{name}]")
            alone = read_exposure(f"{name}{product}.fits")
            for plane in PLANES:
                np.testing.assert_array_equal(getattr(of_mosaic, plane), getattr(alone, plane), err_msg=name + product)
            np.testing.assert_array_equal(of_mosaic.psf.image, alone.psf.image)
            own = (
                "DATE",
                "PMRUN",
                "DIFFIM",
                "PMFORMAT",
                "PMFVERS",
                "HISTORY",
                "EXTNAME",
                "CHECKSUM",
                "DATASUM",
                "COMMENT",
                "",
            )
            for card in set(alone.header) - set(own):
                assert of_mosaic.header[card] == alone.header[card], card
        saved, alone = load_kernel(f"{folder / 'diff_kernel.fits'}[{name}]"), load_kernel(f"{name}_kernel.fits")
        np.testing.assert_array_equal(saved.kernel.coefficients, alone.kernel.coefficients)
        assert saved.info == alone.info
        np.testing.assert_array_equal(saved.candidates["reason"], alone.candidates["reason"])


def test_the_companions_of_each_chip_were_read(folder, pairs):
    record = record_of(folder / "diff_metadata.json")
    for name, number in (("N4", 3), ("S29", 1)):
        planes = record[f"extensions.{name}.run.reading.science.planes"]
        assert planes["mask"] == f"HDU {number} of c4d_2_101849_ood_z_v1.fits.fz"
        assert planes["variance"] == f"HDU {number} of c4d_2_101849_oow_z_v1.fits.fz"
        bad = pairs[name].science.masked_image.flagged(["BAD", "CR"])
        assert read_exposure(f"{folder / 'diff.fits'}[{name}]").masked_image.flagged(["BAD"])[bad].all()
    assert set(record["run.inputs"]) == {
        *("template", "template_mask", "template_weight", "science", "science_mask", "science_weight")
    }


def test_the_record_has_a_section_for_each_chip_and_totals(folder):
    record = record_of(folder / "diff_metadata.json")
    assert (record["run.status"], record["run.exitCode"]) == ("ok", 0)
    assert set(record["extensions"]) == {"N4", "S29"}
    for name in ("N4", "S29"):
        section = record[f"extensions.{name}"]
        assert section["run.status"] == "ok"
        assert section["psfMatch.nGood"] == section["run.summary.n_used"] > 3
        assert section["run.wallSeconds"] > 0
    summary = record["run.summary"]
    assert [summary[f"n_{n}"] for n in ("extensions", "done", "failed", "skipped")] == [2, 2, 0, 2]
    assert summary["matched_by"] == "EXTNAME"
    assert summary["n_sources"] == sum(record[f"extensions.{name}.run.summary.n_sources"] for name in ("N4", "S29"))
    assert "extension N9 is only in c4d_1_101849_ooi_z_v1.fits.fz; it is skipped" in record["run"].get_array("warnings")


def test_the_files_say_what_became_of_every_chip(folder):
    for product in ("", "_matched", "_warped", "_kernel"):
        path = folder / f"diff{product}.fits"
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            names = [hdu.name for hdu in hdus]
            assert hdus[0].data is None
        rows = read_table(f"{path}[EXTENSIONS]")
        assert list(zip(rows["extension"], rows["status"], strict=True)) == [
            *(("S29", "done"), ("N4", "done"), ("N9", "skipped"), ("S7", "skipped"))
        ]
        for row in rows[:2]:
            assert names[row["hdu"]].partition("_")[0] == row["extension"]
        assert list(rows["hdu"][2:]) == [-1, -1]
    header = fits.getheader(folder / "diff.fits")
    assert (header["OBJECT"], header["PMSCI"]) == ("field", "c4d_2_101849_ooi_z_v1.fits.fz")
    fates = read_table(folder / "diff_fates.ecsv")
    assert set(fates["extension"]) == {"N4", "S29"}


def test_a_line_tells_of_each_chip_as_it_is_done(folder, psfmatch):
    ended = psfmatch("match", *files(folder), "-o", "m.fits.fz", "--all-extensions", *FAST)
    first, second, last = ended.out.splitlines()
    assert first.startswith("match: S29 (1 of 2): template convolved, ")
    assert second.startswith("match: N4 (2 of 2): template convolved, ")
    assert last == "match: 2 of 2 extensions done, 2 skipped (N9 S7) -> m.fits.fz"
    assert ended.err.count("it is skipped") == 2
    np.testing.assert_array_equal(
        read_exposure("m.fits.fz[N4]").image, read_exposure(f"{folder / 'diff_matched.fits'}[N4]").image
    )


def test_a_mosaic_is_read_back_by_the_commands(folder, psfmatch):
    diff = folder / "diff.fits"
    assert "layout          mosaic" in psfmatch("info", f"{diff}[N4]", "--quick").out
    assert psfmatch("detect", f"{diff}[N4]", "-o", "one.ecsv").status == 0
    ended = psfmatch("detect", diff, "-o", "all.ecsv", "--all-extensions")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.endswith("detect: 2 of 2 extensions done -> all.ecsv\n")
    one, both = read_table("one.ecsv"), read_table("all.ecsv")
    assert both.colnames == ["extension", *one.colnames]
    of_chip = both[both["extension"] == "N4"]
    assert len(of_chip) == len(one) < len(both)
    np.testing.assert_array_equal(of_chip["x"], one["x"])


def test_info_tells_of_every_chip(failing, folder, psfmatch):
    science = files(folder)[1]
    ended = psfmatch("info", science, "--quick", "--all-extensions")
    assert ended.status == 0
    alone = [psfmatch("info", f"{science}[{name}]", "--quick").out for name in ("S29", "S7", "N4")]
    assert ended.out == "\n".join(alone)
    ended = psfmatch("info", failing / "science.fits", "--all-extensions", "--json")
    assert (ended.status, "extension N9 failed" in ended.err) == (1, True)
    told = json.loads(ended.out)
    assert list(told["extensions"]) == ["N4", "S29"]
    assert told["extensions"]["N4"]["quantities"]["gain"]["value"] > 0
    assert "no pixel of the image is finite" in told["errors"]["N9"]


def test_the_chips_of_hst_have_their_own_planes(psfmatch, tmp_path):
    ended = psfmatch("info", hst_file(tmp_path / "flc.fits"), "--quick", "--all-extensions", "--json")
    told = json.loads(ended.out)["extensions"]
    assert list(told) == ["SCI", "SCI,2"]
    for report, first in zip(told.values(), (1, 4), strict=True):
        assert report["planes"]["image"] == f"HDU {first} (SCI)"
        assert report["planes"]["variance"].startswith(f"HDU {first + 1} (ERR)")
        assert report["planes"]["mask"] == f"HDU {first + 2} (DQ)"


def test_an_interrupted_run_leaves_only_its_record(failing, psfmatch, tmp_path, monkeypatch):
    done = []

    def interrupt(work):
        if done:
            raise Stopped(signal.SIGINT)
        done.append(match(work))
        return done[0]

    match = Work.match
    monkeypatch.setattr(Work, "match", interrupt)
    files = (failing / f"{role}.fits" for role in ("template", "science"))
    assert psfmatch("match", *files, "-o", "m.fits", "--all-extensions", *FAST).status == INTERRUPTED
    assert [path.name for path in tmp_path.iterdir()] == ["m_metadata.json"]
    record = record_of(tmp_path / "m_metadata.json")
    assert (record["run.status"], record["extensions.N4.run.status"]) == ("failed", "ok")


def test_candidates_of_all_chips_can_be_given_back(folder, psfmatch):
    assert (
        psfmatch("candidates", *files(folder), "-o", "c.fits", "--all-extensions", *FWHMS, *SETTINGS[-2:]).status == 0
    )
    candidates = read_table("c.fits")
    assert set(candidates["extension"]) == {"N4", "S29"}
    arguments = ("match", *files(folder), "-o", "m.fits", "--all-extensions", *FAST, "--sources", "c.fits")
    assert psfmatch(*arguments).status == 0
    for name in ("N4", "S29"):
        kept = (candidates["extension"] == name) & (candidates["status"] != "refused")
        assert len(load_kernel(f"m_kernel.fits[{name}]").candidates) == kept.sum()
    (candidates["x", "y"])[:5].write("pixels.ecsv")
    ended = psfmatch(*arguments[:-1], "pixels.ecsv", "--overwrite")
    assert (ended.status, "a column extension" in ended.err) == (2, True)


@pytest.fixture(scope="module")
def failing(pairs, tmp_path_factory):
    """Folder with plain files of the chips N4, S29 and N9; nothing is in S29 but noise, and N9 is not finite."""
    where = tmp_path_factory.mktemp("failing")
    for role in ("template", "science"):
        hdus = [primary(EXPTIME=30.0)]
        for name, pair in pairs.items():
            exposure = getattr(pair, role)
            pixels = {"N4": exposure, "S29": flat(exposure, len(role)), "N9": exposure}[name].image.copy()
            if name == "N9" and role == "science":
                pixels[:] = np.nan
            hdus.append(extension(pixels, name, GAIN=2.0))
            hdus[-1].header.update(wcs_cards(exposure.wcs))
        save(where / f"{role}.fits", *hdus)
    return where


def run_failing(failing, psfmatch, *more):
    return psfmatch("subtract", failing / "template.fits", failing / "science.fits", "-o", "d.fits", *FAST, *more)


def test_a_chip_that_fails_does_not_stop_the_others(failing, psfmatch):
    ended = run_failing(failing, psfmatch, "--all-extensions")
    assert ended.status == 1
    assert "psfmatch: error: extension S29 failed: " in ended.err
    assert "science.fits[N9]: no pixel of the image is finite" in ended.err
    assert ended.out.splitlines()[-1] == "subtract: 1 of 3 extensions done, 2 failed (S29 N9) -> d.fits"
    with fits.open("d.fits") as hdus:
        assert not [hdu.name for hdu in hdus if hdu.name.startswith(("S29", "N9"))]
    fates = read_table("d.fits[EXTENSIONS]")
    assert list(fates["status"]) == ["done", "failed", "failed"]
    assert "no pixel of the image is finite" in fates["message"][2]
    record = record_of(Path("d_metadata.json"))
    assert (record["run.status"], record["run.exitCode"]) == ("partial", 1)
    assert (record["extensions.S29.run.status"], record["extensions.S29.run.exitCode"]) == ("failed", 3)
    assert record["extensions.N9.run.errorType"] == "InputError"
    ended = run_failing(failing, psfmatch, "--all-extensions", "--overwrite", "--json")
    summary = json.loads(ended.out)
    assert [summary["extensions"][name]["status"] for name in ("N4", "S29", "N9")] == ["ok", "failed", "failed"]
    assert summary["n_failed"] == 2


def test_a_failure_keeps_nothing_of_its_chip_in_memory():
    class Pixels:
        pass

    kept = []

    def work():
        pixels = Pixels()
        kept.append(weakref.ref(pixels))
        try:
            raise KeyError(pixels)
        except KeyError as error:
            raise InputError("no pixel") from error

    result, error = attempt(work, "N4")
    assert (result, str(error), exit_status([error, FitError("")])) == (None, "no pixel", 1)
    assert kept[0]() is None


def test_nothing_is_written_if_every_chip_fails(failing, psfmatch, tmp_path):
    ended = run_failing(failing, psfmatch, "--all-extensions", "-c", "candidates.min_snr=1e9", "--no-adapt")
    assert ended.status == 1
    assert ended.err.splitlines()[-1].startswith("psfmatch: error: all 3 extensions failed; N9: ")
    assert [path.name for path in tmp_path.iterdir()] == ["d_metadata.json"]
    record = record_of(tmp_path / "d_metadata.json")
    assert record["run.status"] == record["extensions.N4.run.status"] == "failed"
    assert run_failing(failing, psfmatch, "--all-extensions").status == 1, "the record of a failed run is replaced"


def test_a_pair_of_single_images_works_the_same(pairs, psfmatch):
    for role in ("template", "science"):
        write_exposure(f"{role}.fits", getattr(pairs["N4"], role))
    arguments = ("subtract", "template.fits", "science.fits", *FAST)
    for name, more in (("one", ()), ("all", ("--all-extensions",))):
        ended = psfmatch(*arguments, "-o", f"{name}.fits", "--score", f"{name}_score.fits", *more)
        assert ended.status == 0
    for product in ("", "_score"):
        one, every = read_exposure(f"one{product}.fits"), read_exposure(f"all{product}.fits[IMAGE]")
        for plane in PLANES:
            np.testing.assert_array_equal(getattr(every, plane), getattr(one, plane))
    summaries = [record_of(Path(f"{name}_metadata.json")) for name in ("one", "all")]
    assert summaries[0]["run.summary.score_width"] == summaries[1]["extensions.IMAGE.run.summary.score_width"]


def test_one_image_that_fails_is_the_failure_of_the_run(pairs, psfmatch):
    for role in ("template", "science"):
        write_exposure(f"{role}.fits", getattr(pairs["N4"], role))
    arguments = ("match", "template.fits", "science.fits", *FAST, "-o", "m.fits")
    limit = ("-c", "candidates.min_snr=1e9", "--no-adapt")
    alone, every = psfmatch(*arguments, *limit), psfmatch(*arguments, *limit, "--all-extensions")
    assert (alone.status, every.status) == (3, 3)
    assert alone.err.splitlines()[-1] == every.err.splitlines()[-1]


def chips_file(path, pairs, role, named):
    """Plain file of two chips, with these cards in the headers of their images."""
    hdus = [primary()]
    for (name, pair), cards in zip(list(pairs.items())[:2], named, strict=True):
        exposure = getattr(pair, role)
        hdus.append(extension(exposure.image, "", GAIN=2.0, NAME=name, **cards))
        hdus[-1].header.update(wcs_cards(exposure.wcs))
        hdus[-1].header.update({"EXTNAME": cards["EXTNAME"]} if "EXTNAME" in cards else {})
    return save(path, *hdus)


@pytest.mark.parametrize(
    ("cards", "labels", "said"),
    [
        (({}, {}), ["EXT1", "EXT2"], "told apart by order"),
        (({"CCDNUM": 1}, {"CCDNUM": 2}), ["CCDNUM1", "CCDNUM2"], "told apart by CCDNUM"),
        (({"EXTNAME": "SCI", "EXTVER": 1}, {"EXTNAME": "SCI", "EXTVER": 2}), ["SCI", "SCI,2"], "done ->"),
    ],
)
def test_what_tells_the_chips_apart_is_said(cards, labels, said, pairs, psfmatch, tmp_path):
    paths = [chips_file(tmp_path / f"{role}.fits", pairs, role, cards) for role in ("template", "science")]
    ended = psfmatch("candidates", *paths, "-o", "c.ecsv", "--all-extensions", *FWHMS, "--kernel-size", "15")
    assert ended.status == 0
    assert said in ended.out.splitlines()[-1]
    assert ("matched by their order" in ended.err) == ("order" in said)
    assert list(dict.fromkeys(read_table("c.ecsv")["extension"])) == labels


def test_files_of_options_are_taken_chip_by_chip(pairs, psfmatch, tmp_path):
    names = [{"EXTNAME": name} for name in ("N4", "S29")]
    paths = [chips_file(tmp_path / f"{role}.fits", pairs, role, names) for role in ("template", "science")]
    noise = {name: np.full((SIDE, SIDE), level, np.float32) for name, level in (("S29", 25.0), ("N4", 30.0))}
    save(tmp_path / "noise.fits", primary(), *(extension(plane, name) for name, plane in noise.items()))
    more = ("--science-noise", "noise.fits", "-o", "d.fits", "-c", "subtraction.scale_variance=false")
    assert psfmatch("subtract", *paths, "--all-extensions", *FAST, *more).status == 0
    record = record_of(tmp_path / "d_metadata.json")
    for name, number in (("N4", 2), ("S29", 1)):
        planes = record[f"extensions.{name}.run.reading.science.planes"]
        assert planes["variance"] == f"noise file noise.fits[{number}]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{0}/template.fits[N4]", "{0}/science.fits"), "takes files without an HDU in brackets"),
        (("{0}/template.fits", "{0}/science.fits", "--science-mask", "m.fits[2]"), "--science-mask m.fits[2]: with"),
        (("{0}/template.fits", "{0}/science.fits", "--regions", "r.reg"), "--regions are of one image"),
    ],
)
def test_options_of_one_image_do_not_go_with_all(arguments, message, failing, psfmatch):
    filled = [argument.format(failing) for argument in arguments]
    ended = psfmatch("subtract", *filled, "-o", "d.fits", "--all-extensions")
    assert (ended.status, message in ended.err) == (2, True), ended.err


def test_files_without_a_common_chip_are_an_error(pairs, psfmatch, tmp_path):
    for role, name in (("template", "N4"), ("science", "S29")):
        save(tmp_path / f"{role}.fits", primary(), extension(getattr(pairs[name], role).image, name))
    ended = psfmatch("subtract", "template.fits", "science.fits", "-o", "d.fits", "--all-extensions")
    assert (ended.status, "no extension in common: by EXTNAME they have N4 and S29" in ended.err) == (1, True)
    assert not (tmp_path / "d.fits").exists()


def test_an_exposure_of_a_mosaic_is_subtracted_like_any_other(folder, psfmatch):
    matched, warped = (folder / f"diff_{name}.fits" for name in ("matched", "warped"))
    ended = psfmatch("subtract", f"{warped}[N4]", f"{matched}[N4]", "-o", "again.fits", *FAST)
    assert ended.status == 0
    assert read_exposure("again.fits").facts.layout == "lsst"
    write_exposure("copy.fits", read_exposure(f"{matched}[N4]"))
    assert "PMFORMAT" not in fits.getheader("copy.fits")


def test_the_guide_names_what_is_written(folder, failing, psfmatch):
    def named(caption):
        page = "\n".join(sections(GUIDE / "reference" / "outputs.rst").values())
        return {name for row in rows(page, caption) for name in code(row[0])}

    with fits.open(folder / "diff.fits") as hdus:
        assert named("HDUs of a file of chips") <= {hdu.name for hdu in hdus}
        assert set(hdus["EXTENSIONS"].columns.names) == named("Columns of the table of extensions")
    record = record_of(folder / "diff_metadata.json")
    items = {name.replace("<chip>", "N4") for name in named("Items of a run on all extensions")}
    assert all(name in record for name in items)
    assert {f"run.summary.{name}" for name in record["run.summary"]} == {
        n for n in items if n.startswith("run.summary")
    }
