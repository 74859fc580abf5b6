"""Runs that need more memory than there is end before they start; packed files that pretend to be small, too."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from test_fitsscan import header

from psfmatch_cli.cli.memory_check import check_memory, largest_plane
from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.memory import PIXEL_BYTES, RUN_BYTES, available_memory, describe_size
from psfmatch_cli.settings import settings_from


def hollow(path, side, packed=False):
    """File of a few kB that declares so many pixels: it ends there, or has zeros that pack well."""
    start = header("SIMPLE  = T", "BITPIX  = -32", "NAXIS   = 2", f"NAXIS1  = {side}", f"NAXIS2  = {side}")
    with gzip.open(path, "wb", 1) if packed else open(path, "wb") as file:
        file.write(start + bytes(2_000_000 if packed else 2880))
    return path


def tiled(path, side):
    """Tile-compressed file of some 100 kB that declares side x side pixels in empty tiles."""
    hdu = fits.CompImageHDU(np.zeros((64, 64), np.int32), compression_type="RICE_1", tile_shape=(64, 64))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    with fits.open(path, disable_image_compression=True) as hdus:
        table, row = hdus[1].header, hdus[1].data
        rows = np.repeat(np.asarray(row), (side // 1000) ** 2)
        made = fits.BinTableHDU(rows, table)
    made.header.update({"ZNAXIS1": side, "ZNAXIS2": side, "ZTILE1": 1000, "ZTILE2": 1000})
    fits.HDUList([fits.PrimaryHDU(), made]).writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize("command", ["subtract", "match", "detect", "candidates", "info"])
@pytest.mark.parametrize("kind", ["plain", "packed", "tiled"])
def test_a_small_file_that_declares_too_much_is_refused(command, kind, tmp_path, psfmatch):
    path = tmp_path / "a.fits"
    tiled(path, 20000) if kind == "tiled" else hollow(path, 20000, kind == "packed")
    assert path.stat().st_size < 200_000
    files = [path] if command in ("detect", "info") else [path, path]
    output = [] if command == "info" else ["-o", tmp_path / "o.fits"]
    ended = psfmatch(command, *files, *output, "--max-memory", "8GB")
    need = (RUN_BYTES + PIXEL_BYTES * 20000**2) / 1e9
    assert ended.status == 1
    assert f"this run needs up to {need:.3g} GB of memory for 20000 x 20000 pixels, and 8 GB are allowed" in ended.err
    assert not (tmp_path / "o.fits").exists()


def test_the_machine_is_the_limit_where_none_is_given(tmp_path):
    # Twice as many pixels as there is memory for.
    side = int((2 * available_memory() / PIXEL_BYTES) ** 0.5)
    with pytest.raises(InputError, match=r"needs up to .* are available; cut"):
        check_memory([hollow(tmp_path / "a.fits", side)], None)
    check_memory([hollow(tmp_path / "b.fits", side)], "1000 TB")


def test_the_limit_lies_where_it_is_said_to(tmp_path):
    path, need = hollow(tmp_path / "a.fits", 1000), RUN_BYTES + PIXEL_BYTES * 1000**2
    check_memory([path], str(need))
    with pytest.raises(InputError, match=f"{describe_size(need)} are allowed"):
        check_memory([path], str(need - 1))


def test_the_larger_exposure_counts_and_is_named(tmp_path):
    small, large = hollow(tmp_path / "small.fits", 100), hollow(tmp_path / "large.fits", 3000)
    for paths in ((small, large), (large, small)):
        with pytest.raises(InputError, match=r"large\.fits: .* 3000 x 3000 pixels"):
            check_memory(paths, "1GB")


def test_a_delta_function_kernel_needs_more(tmp_path):
    path = hollow(tmp_path / "a.fits", 100)
    check_memory([path], "500MB", settings_from({}))
    with pytest.raises(InputError, match="take a smaller kernel"):
        check_memory([path], "500MB", settings_from({"kernel.kernel_basis_set": "delta-function"}))


def test_what_is_no_size_is_a_usage_error(tmp_path, psfmatch):
    with pytest.raises(UsageError, match="given as 8GB"):
        check_memory([hollow(tmp_path / "a.fits", 100)], "much")
    assert psfmatch("info", tmp_path / "a.fits", "--max-memory", "8 giga").status == 2


def test_only_images_count(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=np.zeros(3))])
    cube = fits.ImageHDU(np.zeros((2, 40, 50), np.int16))
    fits.HDUList([fits.PrimaryHDU(), table, cube, fits.ImageHDU(np.zeros((30, 20)))]).writeto(tmp_path / "a.fits")
    assert largest_plane(f"{tmp_path / 'a.fits'}[3]") == (30, 20)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the largest resident memory")
def test_the_estimate_is_more_than_a_run_takes(pair_folder, tmp_path):
    # The image is small: most of this is what any run takes. benchmarks/memory.py measures larger ones.
    code = "import sys; from psfmatch_cli.cli import exit_status; status = exit_status(sys.argv[1:]); "
    code += "print(status, open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    files = [str(pair_folder / "template.fits"), str(pair_folder / "science.fits")]
    line = ["subtract", *files, "-o", str(tmp_path / "d.fits"), "-q"]
    ended = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=True)
    status, peak = map(int, ended.stdout.split())
    assert status == 0
    assert peak * 1024 < RUN_BYTES + PIXEL_BYTES * 320**2
