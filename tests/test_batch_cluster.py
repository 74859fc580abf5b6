"""A batch on a real Dask cluster of this machine: one scheduler, two workers, one of which is killed in mid-run."""

import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from test_cli_batch import FAST, entries, start, wait_for

pytest.importorskip("distributed", reason="distributed is not installed: pip install 'psfmatch[cluster]'")

#: Cards of the run, not of its result.
OF_THE_RUN = {"PMRUN", "DATE", "CHECKSUM", "DATASUM", "HISTORY"}


def dask(environment, where, *arguments):
    command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=where, env=environment, start_new_session=True, **nowhere)


@pytest.fixture
def cluster(environment, tmp_path):
    """File of a scheduler, and its two workers."""
    file, loopback = tmp_path / "scheduler.json", ("--host", "127.0.0.1", "--no-dashboard")
    scheduler = dask(environment, tmp_path, "dask_scheduler", "--scheduler-file", file, "--port", "0", *loopback)
    wait_for(file.exists, "the scheduler does not start")
    options = ("--nthreads", "1", "--no-nanny", "--memory-limit", "2GB", "--local-directory", tmp_path, *loopback)
    workers = [dask(environment, tmp_path, "dask_worker", "--scheduler-file", file, *options) for _ in range(2)]
    yield file, workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


def planes(path):
    """Bytes of the data and cards of each HDU of a file, without what tells the runs apart."""
    with fits.open(path) as hdus:
        return [
            (
                None if hdu.data is None else np.array(hdu.data).tobytes(),
                {name: value for name, value in hdu.header.items() if name not in OF_THE_RUN},
            )
            for hdu in hdus
        ]


def test_a_worker_is_killed_and_all_is_as_on_this_machine(environment, tmp_path, pair_folder, cluster):
    file, workers = cluster
    (tmp_path / "night").mkdir()
    for n in range(6):
        shutil.copy(pair_folder / "science.fits", tmp_path / "night" / f"v{n}.fits")
    (tmp_path / "night" / "bad.fits").write_bytes(b"no image")
    pairs = (pair_folder / "template.fits", "night/*.fits", *FAST)
    process = start(environment, tmp_path, *pairs, "-o", "far", "--scheduler-file", file)
    log = tmp_path / "far" / "batch.jsonl"
    wait_for(lambda: log.exists() and entries(tmp_path / "far", "ended"), "no pair has ended")
    workers[0].send_signal(signal.SIGKILL)
    out, _ = process.communicate(timeout=200)
    assert (process.returncode, out) == (1, "batch: 6 of 7 pairs done, 1 failed -> far/batch_summary.ecsv\n")
    assert len({entry["worker"] for entry in entries(tmp_path / "far", "ended")}) in (1, 2)
    near = start(environment, tmp_path, *pairs, "-o", "near", "--jobs", 2)
    assert (near.communicate(timeout=200), near.returncode)[1] == 1
    tables = [Table.read(tmp_path / folder / "batch_summary.ecsv") for folder in ("far", "near")]
    for column in ("pair", "status", "error", "kernel_sum", "sky_width", "n_used"):
        assert list(tables[0][column]) == list(tables[1][column]), column
    for n in range(6):
        for name in (f"v{n}_diff.fits", f"v{n}_diff_kernel.fits"):
            check_same(*(planes(tmp_path / folder / name) for folder in ("far", "near")))


def check_same(hdus, others):
    assert len(hdus) == len(others)
    for (data, cards), (other, other_cards) in zip(hdus, others, strict=True):
        assert data == other
        assert cards == other_cards


def test_a_scheduler_that_is_not_there_is_an_error(psfmatch, pair_folder, monkeypatch):
    monkeypatch.setattr("psfmatch_cli.batch.cluster.PATIENCE", 1)
    pair = (pair_folder / "template.fits", pair_folder / "science.fits")
    done = psfmatch("batch", *pair, "-o", "out", "--scheduler-file", "none.json")
    assert (done.status, "none.json: no such file" in done.err) == (1, True)
    done = psfmatch("batch", *pair, "-o", "out", "--scheduler", "tcp://127.0.0.1:9")
    assert (done.status, "no Dask scheduler answers there" in done.err) == (1, True)
