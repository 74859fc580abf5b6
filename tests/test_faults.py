"""Faults while running: kills, signals, full disks, folders that go, limits, two runs at once."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from astropy.io import fits

from made_runs import ROOT, Runs
from psfmatch_cli.metadata import TaskMetadata

PRODUCTS = ("d_kernel.fits", "d_matched.fits", "d.fits")
#: A tiny match: given widths, constant kernel of few functions.
FAST = ["--template-fwhm", "3.4", "--science-fwhm", "4.6", "--kernel-order", "0", "--background-order", "0"]
FAST += ["--kernel-size", "11", "-q"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Files of a pair of 160 x 160 pixels."""
    from psfmatch_cli import cli

    folder = tmp_path_factory.mktemp("tiny")
    assert cli.exit_status(["demo", str(folder), "--size", "160", "--seed", "3", "-q"]) == 0
    return folder / "template.fits", folder / "science.fits"


@pytest.fixture(scope="module")
def runs(pair, tmp_path_factory):
    made = Runs(["subtract", *pair, "-o", tmp_path_factory.mktemp("warm") / "d.fits", *FAST])
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "out"
    made.mkdir()
    return made


@pytest.fixture
def subtract(pair):
    """Arguments of the run whose outputs are at stake."""
    return ["subtract", *pair, "-o", "d.fits", *FAST]


def run_ids(folder):
    """The run that each product and the record come from; each product is whole."""
    found = []
    for name in PRODUCTS:
        with fits.open(folder / name, checksum=True) as hdus:  # a wrong sum is a warning, and those are errors
            found.append(hdus[0].header["PMRUN"])
            assert all(hdu.data is not None for hdu in hdus[1:])
    return [*found, record_of(folder)["id"]]


def record_of(folder, name="d_metadata.json"):
    return TaskMetadata.from_json((folder / name).read_text())["run"]


def the_id(folder):
    """Identifier of the one run that everything in a folder comes from."""
    (found,) = set(run_ids(folder))
    assert record_of(folder)["status"] == "ok"
    return found


def litter(folder):
    return sorted(path.name for path in folder.iterdir() if path.name not in (*PRODUCTS, "d_metadata.json"))


def one_line(ended):
    return ended.err.count("\n") == 1 and ended.err.startswith("psfmatch: error: ")


@pytest.fixture
def old(runs, folder, subtract):
    """Identifier of an earlier run whose products are in the folder."""
    assert runs.run(folder, *subtract).status == 0
    return the_id(folder)


@pytest.fixture(scope="module")
def duration(runs, pair, tmp_path_factory):
    """How long the run takes on this machine now, seconds."""
    start = time.perf_counter()
    assert runs.run(tmp_path_factory.mktemp("timed"), "subtract", *pair, "-o", "d.fits", *FAST).status == 0
    return time.perf_counter() - start


def test_killed_at_any_time_the_earlier_products_or_the_new_ones_are_whole(runs, folder, subtract, old, duration):
    killed, known = 0, {old}
    for n in range(12):
        started = runs.start(folder, *subtract, "--overwrite")
        # The more often towards the end, where the files are.
        started.signal_after(duration * (1.1 * (n + 0.5) / 12) ** 0.5, signal.SIGKILL)
        killed += started.wait().status == -signal.SIGKILL
        known.add(the_id(folder))
        assert all(name.startswith(".psfmatch-") for name in litter(folder))
    assert killed >= 4
    assert runs.run(folder, *subtract, "--overwrite").status == 0
    assert the_id(folder) not in known
    assert litter(folder) == []


@pytest.mark.parametrize("step", ["write", "rename"])
def test_killed_while_files_are_written_or_renamed(step, runs, folder, subtract, old):
    """The second file is written, or has its name, when the run is killed; the next one puts the first back."""
    prepare = {
        "write": "import os, psfmatch_cli.kernel_io as k\nk.save_kernel = lambda *a, **o: os._exit(9)",
        "rename": (
            "import os, itertools\ncount, real = itertools.count(), os.replace\n"
            "def replace(source, target):\n"
            "    real(source, target)\n"
            "    if '.psfmatch-' not in target and next(count) == 1: os._exit(9)\n"
            "os.replace = replace"
        ),
    }[step]
    assert runs.run(folder, *subtract, "--overwrite", prepare=prepare).status == 9
    found = run_ids(folder) if step == "rename" else [the_id(folder)] * 4
    assert found.count(old) == (2 if step == "rename" else 4)
    assert len(litter(folder)) == 1
    # Also a run that is refused looks after what the killed one has left.
    assert runs.run(folder, *subtract).status == 1
    assert the_id(folder) == old
    assert litter(folder) == []


def test_stopped_at_any_time_nothing_is_left_and_the_record_says_so(runs, folder, subtract, old, duration):
    rng = random.Random(4)
    statuses = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) * 3:
        started = runs.start(folder, *subtract, "--overwrite")
        # Some of them twice, as who is impatient does.
        started.signal_after(0.02 + rng.uniform(0, 0.9) * duration, *[number] * rng.choice([1, 2]))
        ended = started.wait()
        statuses.append(ended.status)
        assert ended.status in (0, 128 + number)
        assert "Traceback" not in ended.err
        found = the_id(folder)
        if ended.status and found == old:
            assert one_line(ended)
            # Before the outputs were looked at there is no record.
            if litter(folder):
                assert litter(folder) == ["d_metadata_failed.json"]
                failed = record_of(folder, "d_metadata_failed.json")
                assert (failed["status"], failed["exitCode"]) == ("failed", ended.status)
                assert failed["errorMessage"] in ended.err
                (folder / "d_metadata_failed.json").unlink()
        old = found
        assert litter(folder) == []
    assert sum(map(bool, statuses)) >= 4


@pytest.mark.parametrize("n_imports", [3, 40, 250, 500])
def test_stopped_while_starting_there_is_no_traceback(n_imports, pair, folder):
    code = (
        "import sys, os, signal, runpy\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Finder:\n"
        "    n = 0\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        Finder.n += 'psfmatch_cli.cli' in sys.modules or Finder.n > 0 or name == 'psfmatch_cli.cli'\n"
        f"        if Finder.n == {n_imports}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "runpy.run_module('psfmatch_cli', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", code, "detect", str(pair[1]), "-o", "s.ecsv", "--psf-fwhm", "4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("psfmatch: error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert set(os.listdir(folder)) <= {"s_metadata.json"}


@pytest.mark.parametrize("overwrite", [True, False])
def test_of_two_runs_at_once_the_products_are_of_one(overwrite, runs, folder, subtract):
    options = ["--overwrite"] if overwrite else []
    for _ in range(3):
        for path in folder.iterdir():
            path.unlink()
        started = [runs.start(folder, *subtract, *options) for _ in range(2)]
        ended = [run.wait() for run in started]
        the_id(folder)
        assert litter(folder) == []
        assert sorted(end.status for end in ended) == [0, 0 if overwrite else 1]
        assert all(one_line(end) and "already exists" in end.err for end in ended if end.status)


def test_a_run_that_comes_too_late_changes_nothing(runs, folder, subtract):
    """Another run's products appear while it works; without --overwrite it is refused at the end."""
    (folder.parent / "other").mkdir()
    assert runs.run(folder.parent / "other", *subtract).status == 0
    other = the_id(folder.parent / "other")
    prepare = (
        "import shutil, psfmatch_cli.io as io\nreal = io.read_exposure\n"
        "def read(*a, **o):\n"
        "    shutil.copytree('../other', '.', dirs_exist_ok=True)\n"
        "    return real(*a, **o)\n"
        "io.read_exposure = read"
    )
    ended = runs.run(folder, *subtract, prepare=prepare)
    assert ended.status == 1
    assert one_line(ended)
    assert "already exists; use --overwrite" in ended.err
    assert the_id(folder) == other
    assert litter(folder) == []


def test_a_failed_run_leaves_the_record_of_an_earlier_one(runs, folder, subtract, old):
    ended = runs.run(folder, *subtract, "--overwrite", "-c", "candidates.min_snr=1e9")
    assert ended.status == 3
    assert the_id(folder) == old
    failed = record_of(folder, "d_metadata_failed.json")
    assert (failed["status"], failed["exitCode"]) == ("failed", 3)
    assert "outputs" not in failed or not failed["outputs"].flat()
    # The record of a failure is gone when there is a success.
    assert runs.run(folder, *subtract, "--overwrite").status == 0
    assert the_id(folder) != old
    assert litter(folder) == []


LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"


@pytest.mark.parametrize("limit", [2_000, 60_000, 200_000])
def test_a_file_that_cannot_grow_leaves_the_earlier_products(limit, runs, folder, subtract, old):
    """As with a quota: the system refuses to write, at several places. The record needs 45 kB."""
    ended = runs.run(folder, *subtract, "--overwrite", prepare=LIMIT.format(limit))
    assert ended.status == 1
    assert "psfmatch: error: d" in ended.err
    assert "cannot be written (File too large)" in ended.err
    assert "Traceback" not in ended.err
    assert the_id(folder) == old
    assert one_line(ended)
    if limit > 50_000:
        assert record_of(folder, "d_metadata_failed.json")["errorMessage"] in ended.err
    else:
        assert litter(folder) == []


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["detect", 1, "-o", "s.ecsv", "--psf-fwhm", "4"], "s.ecsv"),
        (["detect", 1, "-o", "s.fits", "--psf-fwhm", "4"], "s.fits"),
        (["candidates", 0, 1, "-o", "c.csv", *FAST[:4], *FAST[8:]], "c.csv"),
        (["candidates", 0, 1, "-o", "c.fits", "--regions", "c.reg", "--no-metadata", *FAST[:4], *FAST[8:]], "c.fits"),
        (["match", 0, 1, "-o", "m.fits.gz", "--no-kernel", *FAST], "m.fits.gz"),
        (["match", 0, 1, "-o", "m.fits.fz", "--no-kernel", *FAST], "m.fits.fz"),
        (["demo", "new/demo", "--size", "64"], "new/demo/"),
    ],
)
def test_every_writer_leaves_nothing_when_the_disk_is_full(arguments, name, runs, folder, pair):
    line = [pair[argument] if isinstance(argument, int) else argument for argument in arguments]
    ended = runs.run(folder, *line, prepare=LIMIT.format(300))
    assert ended.status == 1
    assert "File too large" in ended.err
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
    assert f"psfmatch: error: {name}" in ended.err
    assert os.listdir(folder) == []


@contextmanager
def small_disk(path, n_bytes):
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(path)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_leaves_the_earlier_products(runs, folder, subtract):
    with small_disk(folder, 1_600_000):
        assert runs.run(folder, *subtract).status == 0
        old = the_id(folder)
        ended = runs.run(folder, *subtract, "--overwrite")
        assert ended.status == 1
        assert re.search("cannot be written.*No space left on device", ended.err)
        assert the_id(folder) == old
        assert set(litter(folder)) <= {"d_metadata_failed.json"}


def test_a_folder_that_vanishes_is_named(runs, folder, subtract):
    prepare = (
        "import os, shutil, psfmatch_cli.kernel_io as k\nreal = k.save_kernel\n"
        "def save(*a, **o):\n"
        "    shutil.rmtree(os.getcwd())\n"
        "    return real(*a, **o)\n"
        "k.save_kernel = save"
    )
    arguments = [folder / "d.fits" if argument == "d.fits" else argument for argument in subtract]
    ended = runs.run(folder, *arguments, prepare=prepare)
    assert ended.status == 1
    assert f"the folder {folder} does not exist any more" in ended.err
    assert "Traceback" not in ended.err
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_becomes_read_only(runs, folder, subtract, old):
    prepare = "import os, psfmatch_cli.io as io\nreal = io.read_exposure\n"
    prepare += "io.read_exposure = lambda *a, **o: (os.chmod('.', 0o500), real(*a, **o))[1]"
    ended = runs.run(folder, *subtract, "--overwrite", prepare=prepare)
    folder.chmod(0o700)
    assert ended.status == 1
    assert "Permission denied" in ended.err
    assert the_id(folder) == old


@pytest.mark.parametrize("n_files", [0, 1, 3, 6])
def test_too_few_open_files_are_one_line(n_files, runs, folder, subtract):
    prepare = (
        "import os, resource\nused = len(os.listdir('/proc/self/fd'))\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (used + {n_files}, used + {n_files}))"
    )
    if not Path("/proc/self/fd").exists():
        pytest.skip("open files cannot be counted here")
    ended = runs.run(folder, *subtract, prepare=prepare)
    assert ended.status in (0, 1)
    if ended.status:
        assert "Too many open files" in ended.err
        assert "Traceback" not in ended.err
        assert set(litter(folder)) == set()
        assert not (folder / "d.fits").exists()
    else:
        the_id(folder)


@pytest.mark.parametrize("megabytes", [4, 12])
def test_too_little_memory_is_one_line(megabytes, runs, folder, subtract, old):
    """What may be allocated beyond what the process has; the matrices and images need about 20 MB."""
    prepare = (
        "import resource\npages = int(open('/proc/self/statm').read().split()[0])\n"
        f"size = pages * resource.getpagesize() + ({megabytes} << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size, size))"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("the size of the process is not known here")
    ended = runs.run(folder, *subtract, "--overwrite", prepare=prepare)
    assert ended.status in (0, 1)
    if ended.status:
        assert "psfmatch: error: " in ended.err
        assert "memory" in ended.err
        assert "Traceback" not in ended.err
        assert the_id(folder) == old
        assert set(litter(folder)) <= {"d_metadata_failed.json"}


@pytest.mark.parametrize("arguments", [["config", "dump"], ["config", "show"], ["info", 1, "--quick"]])
def test_results_that_cannot_be_printed_are_an_error(arguments, runs, folder, pair):
    line = [pair[argument] if isinstance(argument, int) else argument for argument in arguments]
    ended = runs.run(folder, *line, stdout="/dev/full")
    assert (ended.status, ended.err) == (
        1,
        "psfmatch: error: the standard output cannot be written: No space left on device\n",
    )


def test_a_summary_that_cannot_be_printed_leaves_the_products(runs, folder, subtract):
    loud = [argument for argument in subtract if argument != "-q"]
    ended = runs.run(folder, *loud, stdout="/dev/full")
    assert ended.status == 1
    assert "the standard output cannot be written" in ended.err
    the_id(folder)
    assert litter(folder) == []


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_files_do_no_harm(closed, folder, pair, environment):
    """The number of a closed file is not taken by a product, in which a library's message could end up."""
    script = f"psfmatch detect '{pair[1]}' -o s.fits --psf-fwhm 4 {closed}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    with fits.open(folder / "s.fits", checksum=True) as hdus:
        assert len(hdus[1].data) > 0


def test_the_reader_of_stdout_may_go(folder, pair, environment):
    script = f"set -o pipefail; psfmatch config dump | head -1; psfmatch detect '{pair[1]}' -o s.fits -vv | true"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert record_of(folder, "s_metadata.json")["status"] == "ok"
