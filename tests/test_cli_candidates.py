"""psfmatch candidates: the table of what may constrain the kernel, and its way into a match."""

import numpy as np

from conftest import FWHMS
from psfmatch_cli.kernel_io import load_kernel
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.tables import read_table


def test_candidates_are_listed_with_reasons_and_can_be_used(psfmatch, pair_folder, tmp_path):
    files = pair_folder / "template.fits", pair_folder / "science.fits"
    ended = psfmatch("candidates", *files, "-o", "c.ecsv", *FWHMS)
    assert (ended.status, ended.err) == (0, "")
    table = read_table(tmp_path / "c.ecsv")
    kept = table["status"] != "refused"
    assert ended.out.startswith(f"candidates: {kept.sum()} of {len(table)} sources (")
    assert set(table["reason"][kept]) == {""}
    assert "" not in set(table["reason"][~kept])
    document = TaskMetadata.from_json((tmp_path / "c_metadata.json").read_text())
    assert document["run.summary.counts.candidates"] == kept.sum()

    assert psfmatch("match", *files, "-o", "own.fits", *FWHMS, "--kernel-order", "0").status == 0
    given = psfmatch("match", *files, "-o", "m.fits", *FWHMS, "--kernel-order", "0", "--sources", "c.ecsv")
    assert given.status == 0
    own, from_table = (load_kernel(tmp_path / name) for name in ("own_kernel.fits", "m_kernel.fits"))
    assert len(from_table.candidates) == kept.sum()
    used = own.candidates["status"] == "used"
    assert set(np.round(from_table.candidates["x"], 3)) >= set(np.round(own.candidates["x"][used], 3))


def test_a_smaller_kernel_cuts_smaller_stamps(psfmatch, pair_folder, tmp_path):
    files = pair_folder / "template.fits", pair_folder / "science.fits"
    assert psfmatch("candidates", *files, "-o", "c.ecsv", *FWHMS, "--kernel-size", "15").status == 0
    table = read_table(tmp_path / "c.ecsv")
    kept = table[table["status"] != "refused"]
    assert set(kept["box_x1"] - kept["box_x0"] + 1) <= {2 * n + 1 for n in range(16)}
    assert TaskMetadata.from_json((tmp_path / "c_metadata.json").read_text())["run.summary.kernel_size"] == 15


def test_every_source_refused_is_exit_3_with_the_counts(psfmatch, pair_folder, tmp_path):
    files = pair_folder / "template.fits", pair_folder / "science.fits"
    ended = psfmatch("candidates", *files, "-o", "c.ecsv", *FWHMS, "-c", "candidates.min_snr=1e9")
    assert ended.status == 3
    assert "faint" in ended.err
    run = TaskMetadata.from_json((tmp_path / "c_metadata.json").read_text())["run"]
    assert run["counts.faint"] > 10
    assert not (tmp_path / "c.ecsv").exists()
