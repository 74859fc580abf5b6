"""psfmatch batch: pairs from lists, options, failures, and a second run that does only what is left."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from psfmatch_cli.io import read_exposure
from psfmatch_cli.metadata import TaskMetadata

#: FWHMs that are known, and the least products, to save time.
FAST = ("--template-fwhm", "3.4", "--science-fwhm", "4.6", "--kernel-size", "15", "--no-matched", "--kernel-order", "0")
FAST += ("--background-order", "0")


@pytest.fixture
def night(tmp_path, pair_folder):
    """Folder with template.fits and three science images, the last damaged."""
    folder = tmp_path / "night"
    folder.mkdir()
    shutil.copy(pair_folder / "template.fits", folder)
    for name in ("v1", "v2"):
        shutil.copy(pair_folder / "science.fits", folder / f"{name}.fits")
    (folder / "v3.fits").write_bytes((pair_folder / "science.fits").read_bytes()[:9000])
    return folder


def manifest(path, *rows):
    """A CSV file with these rows, whose columns are those of the first."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def entries(folder, event):
    lines = [json.loads(line) for line in (folder / "batch.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def begun(folder):
    """Names of the pairs that were ever begun, in order."""
    return [entry["name"] for entry in entries(folder, "begun")]


def test_a_pair_that_fails_does_not_stop_the_others(psfmatch, night, tmp_path):
    done = psfmatch("batch", night / "template.fits", night / "v*.fits", "-o", "out", "--jobs", 1, *FAST)
    out = tmp_path / "out"
    assert done.status == 1
    assert done.out == "batch: 2 of 3 pairs done, 1 failed -> out/batch_summary.ecsv\n"
    assert "v3 failed" in done.err
    table = Table.read(out / "batch_summary.ecsv")
    assert list(table["pair"]) == ["v1", "v2", "v3"]
    assert list(table["status"]) == ["done", "done", "failed"]
    assert abs(table["kernel_sum"][0] - 1.25) < 0.025  # 1 % of noise, and 1 % of light outside a kernel of 15 pixels
    assert table["kernel_sum"].mask[2]
    assert table["error"][2]
    assert (table["seconds"] > 0).all()
    assert entries(out, "ended")[0]["inputs"]["template"]["bytes"] == (night / "template.fits").stat().st_size
    alone = psfmatch("subtract", night / "template.fits", night / "v1.fits", "-o", "alone.fits", *FAST)
    assert alone.status == 0
    image, expected = (read_exposure(path).image for path in (out / "v1_diff.fits", tmp_path / "alone.fits"))
    np.testing.assert_array_equal(image, expected)
    record = TaskMetadata.from_json((out / "v1_diff_metadata.json").read_text())
    assert record.get_array("run.arguments")[0] == "subtract"
    check_second_runs(psfmatch, night, out)


def check_second_runs(psfmatch, night, out):
    """Nothing is done again but what is missing, changed, or failed and wanted again."""
    again = ("batch", night / "template.fits", night / "v*.fits", "-o", out, "--jobs", 1, *FAST)
    first = begun(out)
    assert psfmatch(*again).status == 1
    os.utime(night / "v1.fits")  # touched, with the same content
    told = psfmatch(*again, "--json")
    assert (told.status, json.loads(told.out)["n_before"]) == (1, 3)
    assert json.loads(told.out)["pairs"]["v3"]["status"] == "failed"
    assert begun(out) == first
    psfmatch(*again, "--retry-failed")
    assert begun(out) == [*first, "v3"]
    (out / "v2_diff.fits").unlink()
    psfmatch(*again)
    assert (begun(out)[4:], (out / "v2_diff.fits").exists()) == (["v2"], True)
    shutil.copy(night / "v1.fits", night / "v3.fits")  # the damaged file is good now
    with fits.open(night / "v1.fits", mode="update") as hdus:
        hdus[0].header["OBJECT"] = "other"
    assert psfmatch(*again).status == 0
    assert sorted(begun(out)[5:]) == ["v1", "v3"]
    psfmatch(*again, "-c", "detection.min_pixels=4")
    assert sorted(begun(out)[7:]) == ["v1", "v2", "v3"]


def test_files_that_no_batch_has_made_stay(psfmatch, night, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "v1_diff.fits").write_text("mine")
    done = psfmatch("batch", night / "template.fits", night / "v1.fits", "-o", "out", "--jobs", 1, *FAST)
    assert (done.status, "exists" in done.err) == (1, True)
    assert (tmp_path / "out" / "v1_diff.fits").read_text() == "mine"


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "fits"])
def test_a_manifest_has_options_and_settings_of_each_pair(psfmatch, night, tmp_path, suffix):
    pair = {"template": night / "template.fits", "science": night / "v1.fits"}
    rows = [
        {**pair, "output": "a.fits", "kernel.spatial_bg_order": "1", "science-gain": "", "fit_background": "true"},
        {**pair, "output": "b.fits", "kernel.spatial_bg_order": "", "science-gain": "2.5", "fit_background": "false"},
    ]
    path = manifest(tmp_path / "pairs.csv", *rows)
    if suffix != "csv":
        table = Table([[str(row[name]) for row in rows] for name in rows[0]], names=list(rows[0]))
        path = tmp_path / f"pairs.{suffix}"
        table.write(path)
    options = [option for option in FAST if option not in ("--background-order",)][:-1]
    done = psfmatch("batch", path, "-o", "out", "--jobs", 1, *options, "--candidates", "{name}_fate.csv")
    assert (done.status, done.err) == (0, "")
    records = [TaskMetadata.from_json((tmp_path / "out" / f"{name}_metadata.json").read_text()) for name in "ab"]
    assert records[0]["run.settings.kernel.spatial_bg_order"] == 1
    assert [record["run.settings.kernel.fit_for_background"] for record in records] == [True, False]
    assert "2.5" in records[1].get_array("run.arguments")
    assert (tmp_path / "out" / "a_fate.csv").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"colour": "red"}, "row 1: there is no option and no setting 'colour'"),
        ({"science_gain": "much"}, "row 1: Invalid value for '--science-gain'"),
        ({"kernel.no_such": "1"}, "row 1: .*no_such"),
        ({"fit_background": "perhaps"}, "row 1: fit_background is true or false"),
        ({"template": ""}, "row 1: no template"),
        ({"output": "v.fits.fits"}, None),
    ],
)
def test_a_wrong_manifest_is_refused_before_any_work(psfmatch, night, tmp_path, columns, message):
    pair = {"template": night / "template.fits", "science": night / "v1.fits", **columns}
    path = manifest(tmp_path / "pairs.csv", pair, pair)
    done = psfmatch("batch", path, "-o", "out")
    assert done.status == 2
    assert re.search(message or "several pairs would make the pair", done.err)
    assert not (tmp_path / "out" / "batch.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--score", "one.fits"], "each pair needs a name of its own"),
        (["--scheduler", "tcp://a:1", "--jobs", "2"], "--jobs is of this machine"),
        (["--scheduler", "tcp://a:1", "--scheduler-file", "f"], "the same thing"),
        (["--metadata-flat"], "is of one pair"),
        (["--summary", "a.txt"], "must end in"),
    ],
)
def test_wrong_options_are_refused(psfmatch, night, options, message):
    done = psfmatch("batch", night / "template.fits", night / "v1.fits", "-o", "out", *options)
    assert (done.status, message in done.err) == (2, True)


def mosaic(path, image_file, names):
    """A file with one image for each of the names."""
    with fits.open(image_file) as hdus:
        image = hdus[1] if hdus[0].data is None else hdus[0]
        chips = [fits.ImageHDU(image.data, image.header, name=name) for name in names]
    fits.HDUList([fits.PrimaryHDU(), *chips]).writeto(path)


def test_each_chip_is_a_pair(psfmatch, pair_folder, tmp_path):
    for role in ("template", "science"):
        mosaic(tmp_path / f"{role}.fits", pair_folder / f"{role}.fits", ["01", "02"])
    gains = ("--template-gain", "2", "--science-gain", "2")
    every = psfmatch(
        "batch", "template.fits", "science.fits", "-o", "all", "--all-extensions", "--jobs", 1, *FAST, *gains
    )
    assert (every.status, every.out) == (0, "batch: 2 of 2 pairs done -> all/batch_summary.ecsv\n"), every.err
    pair = {"template": "template.fits", "science": "science.fits"}
    path = manifest(tmp_path / "pairs.csv", {**pair, "extension": "02"})
    assert psfmatch("batch", path, "-o", "one", "--jobs", 1, *FAST, *gains).status == 0
    images = [read_exposure(tmp_path / folder / "science_02_diff.fits").image for folder in ("all", "one")]
    np.testing.assert_array_equal(*images)
    path = manifest(tmp_path / "pairs.csv", {**pair, "extension": "07"})
    assert "they share 01, 02" in psfmatch("batch", path, "-o", "two", *FAST, *gains).err


def start(environment, where, *arguments):
    command = [sys.executable, "-m", "psfmatch_cli", "batch", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=where,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests may ignore Ctrl-C, as jobs in the background do, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(condition, what):
    """Wait until something is so; the time is far more than it takes."""
    end = time.monotonic() + 200
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return found


def faults(err):
    """Lines on stderr but those that tell from time to time how far it is."""
    return [line for line in err.splitlines() if ", 0 failed" not in line]


def children(process):
    """Numbers of the processes that a process has started and that do pairs."""
    numbers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(number) for number in numbers if b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes()]


@pytest.fixture
def many(night):
    """Arguments of a batch of six pairs."""
    for n in range(4, 8):
        shutil.copy(night / "v1.fits", night / f"v{n}.fits")
    (night / "v3.fits").unlink()
    return night / "template.fits", night / "v*.fits", "-o", "out", *FAST


needs_proc = pytest.mark.skipif(
    not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(), reason="the system does not list children"
)


@needs_proc
def test_the_death_of_a_worker_loses_only_what_it_had_in_hand(environment, tmp_path, many):
    process = start(environment, tmp_path, *many, "--jobs", 2)
    log = tmp_path / "out" / "batch.jsonl"
    wait_for(lambda: log.exists() and entries(tmp_path / "out", "ended"), "no pair has ended")
    os.kill(children(process)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=200)
    assert (process.returncode, faults(err)) == (0, [])
    assert out.startswith("batch: 6 of 6 pairs done ->")
    names = begun(tmp_path / "out")
    assert len(names) in (6, 7), "one at most was begun again"
    assert len(set(names)) == 6


@needs_proc
def test_after_the_death_of_the_parent_a_second_run_does_the_rest(environment, tmp_path, many):
    process = start(environment, tmp_path, *many, "--jobs", 2)
    log = tmp_path / "out" / "batch.jsonl"
    wait_for(lambda: log.exists() and entries(tmp_path / "out", "ended"), "no pair has ended")
    workers = children(process)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), "the workers do not end")
    done = {entry["name"] for entry in entries(tmp_path / "out", "ended")}
    second = start(environment, tmp_path, *many, "--jobs", 2)
    out, err = second.communicate(timeout=200)
    assert (second.returncode, faults(err)) == (0, [])
    n_again = sum(name in done for name in begun(tmp_path / "out")) - len(done)
    assert n_again == 0
    assert f"6 of 6 pairs done, {len(done)} of them before" in out
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".") and path.is_dir()]


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_and_leaves_whole_files(environment, tmp_path, many, number):
    process = start(environment, tmp_path, *many, "--jobs", 2)
    log = tmp_path / "out" / "batch.jsonl"
    wait_for(lambda: log.exists() and entries(tmp_path / "out", "ended"), "no pair has ended")
    workers = children(process)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
    table = Table.read(tmp_path / "out" / "batch_summary.ecsv")
    assert set(table["status"]) == {"done", "not done"}
    done = [row["difference"] for row in table if row["status"] == "done"]
    assert all(os.path.exists(path) for path in done)
