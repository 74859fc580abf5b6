"""Thousands of damaged files: each is read, or refused with one line, in bounded time.

They are made from small valid files of every layout, always the same ones. A failure names what made it, so that
`damaged` makes it again.
"""

import gzip
import shutil
import signal
import traceback
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import made_files
from made_files import counts, flag_image
from made_pairs import gaussian_stars
from mutations import KINDS
from psfmatch_cli.cli.exits import outcome
from psfmatch_cli.errors import PsfMatchError
from psfmatch_cli.io import read_exposure, read_facts

SHAPE = (48, 56)
#: CPU time of one file, seconds; they take a hundredth of one.
LIMIT = 10


@contextmanager
def small_images():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_files, "SHAPE", SHAPE)
        patch.setattr(made_files, "counts", lambda sky=400.0, **more: counts(sky, **{"n_stars": 5, **more}))
        yield


def lsst_file(path):
    head = made_files.primary(FLUXMAG0=2.5e9, EXPTIME=30.0, AR_HDU=5, PSF_ID=2, PHOTOCALIB_ID=1)
    image = made_files.extension(made_files.counts(), EXTTYPE="IMAGE", CTYPE1A="LINEAR", CRPIX1A=1.0, CRPIX2A=1.0)
    put = {"CRVAL1A": 100.0, "CRVAL2A": 50.0}
    image.header.update({**put, **made_files.sky_cards(kind="TAN-SIP")})
    image.header.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-7, "B_1_1": 1e-7, "AP_ORDER": 1, "BP_ORDER": 1})
    mask = made_files.extension(flag_image([1, 2]), EXTTYPE="MASK", MP_BAD=0, MP_SAT=1)
    variance = made_files.extension(np.full(SHAPE, 209.0, np.float32), EXTTYPE="VARIANCE")
    return made_files.save(path, head, image, mask, variance, *archive_tables())


def archive_tables():
    """Index and objects that are attached to an exposure: a calibration and a PSF."""
    u = np.arange(-7, 8)
    psf = np.exp(-0.5 * (u[:, None] ** 2 + u**2) / 1.4**2).ravel()
    index = np.array(
        [(1, 1, 0, 1, b"PhotoCalib"), (2, 2, 0, 1, b"FixedKernel")],
        [("id", "i4"), ("cat.archive", "i4"), ("row0", "i4"), ("nrows", "i4"), ("name", "S32")],
    )
    photometry = np.array([(100.0,)], [("calibrationMean", "f8")])
    kernel = np.array([((15, 15), psf)], [("dimensions", "i4", 2), ("image", "f8", 225)])
    tables = [fits.BinTableHDU(rows) for rows in (index, photometry, kernel)]
    tables[0].header["EXTTYPE"] = "ARCHIVE_INDEX"
    for number, table in enumerate(tables[1:], 1):
        table.header["AR_CATN"] = number
    return tables


def tiled_files(folder):
    """One tile-compressed image a file, of every kind of compression."""
    whole = np.rint(made_files.counts()).astype(np.int32)
    kinds = {kind: (whole, {}) for kind in ("GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "RICE_1")}
    kinds["FLOAT"] = made_files.counts(), {"compression_type": "RICE_1", "quantize_level": 16}
    for name, (image, more) in kinds.items():
        tiled = fits.CompImageHDU(image, **{"compression_type": name, "tile_shape": (16, 16), **more})
        made_files.save(folder / f"{name}.fits.fz", made_files.primary(GAIN=2.0), tiled)
    return folder / "RICE_1.fits.fz"


def gzipped(folder):
    plain = made_files.small_telescope_file(folder / "plain.fits", GAIN=1.5, FWHM=3.0)
    path = folder / "packed.fits.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return path


#: Maker of the files of each layout in a folder, which returns the path of the exposure.
MAKERS = {
    "plain": lambda folder: made_files.small_telescope_file(folder / "a.fits", GAIN=1.5, **made_files.sky_cards()),
    "lsst": lambda folder: lsst_file(folder / "a.fits"),
    "hst": lambda folder: made_files.hst_file(folder / "a.fits"),
    "drizzled": lambda folder: made_files.drizzled_file(folder / "a.fits"),
    "jwst": lambda folder: made_files.jwst_file(folder / "a.fits"),
    "decam": lambda folder: made_files.decam_files(folder, chips=("S29",)),
    "ztf": made_files.ztf_files,
    "panstarrs": made_files.panstarrs_files,
    "sdss": lambda folder: made_files.sdss_frame(folder / "a.fits"),
    "swarp": made_files.swarp_files,
    "tiles": tiled_files,
    "packed": gzipped,
}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Path of a valid exposure of each layout, in a folder of its own."""
    made = {}
    with small_images():
        for name, maker in MAKERS.items():
            made[name] = maker(tmp_path_factory.mktemp(name))
    return made


def damaged(exposure: Path, kind: str, number: int) -> tuple[Path, bytes]:
    """A file of an exposure, or the one beside it, and its damaged bytes; a packed one is packed again."""
    rng = np.random.default_rng([list(KINDS).index(kind), number])
    files = sorted(exposure.parent.iterdir())
    file = exposure if len(files) == 1 or rng.random() < 0.6 else files[int(rng.integers(len(files)))]
    data = file.read_bytes()
    if not data.startswith(b"\x1f\x8b"):
        return file, KINDS[kind](data, rng)
    if rng.random() < 0.3:
        return file, KINDS["overwritten" if rng.random() < 0.5 else "truncated"](data, rng)
    return file, gzip.compress(KINDS[kind](gzip.decompress(data), rng), 1)


def out_of_time(number, frame):
    raise TimeoutError("takes too long")


@contextmanager
def limited(seconds=LIMIT):
    """An error in a block that takes more CPU time than this."""
    before = signal.signal(signal.SIGVTALRM, out_of_time)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def complaint(action) -> str | None:
    """What is wrong with how an action ended; None if it worked or was refused with one line."""
    try:
        with limited():
            action()
    except PsfMatchError as error:
        status, line = outcome(error)
        if "\n" in str(error) or not 10 < len(line) < 1000:
            return f"no line: {error}"
        return None if status in (1, 2, 3) else f"status {status}"
    except Exception:
        return traceback.format_exc()
    return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", MAKERS)
def test_a_damaged_file_is_read_or_refused_with_one_line(layout, kind, seeds, tmp_path):
    folder = tmp_path / "files"
    shutil.copytree(seeds[layout].parent, folder)
    exposure = folder / seeds[layout].name
    bad = {}
    for number in range(13):
        file, data = damaged(seeds[layout], kind, number)
        (folder / file.name).write_bytes(data)
        # Now and then the headers alone: they are looked at without any pixel, too.
        read = read_facts if number % 5 == 0 else read_exposure
        path = folder / file.name if layout == "tiles" else exposure
        fault = complaint(lambda read=read, path=path: read(path))
        if fault:
            bad[number, file.name, read.__name__] = fault
        shutil.copyfile(file, folder / file.name)
    assert not bad, "\n".join(f"--- {layout}, {kind}, {key}\n{fault}" for key, fault in bad.items())


@pytest.mark.parametrize("layout", MAKERS)
def test_the_command_info_ends_with_a_line(layout, seeds, tmp_path, psfmatch):
    folder = tmp_path / "files"
    shutil.copytree(seeds[layout].parent, folder)
    for number, kind in list(enumerate(KINDS))[list(MAKERS).index(layout) % 3 :: 3]:
        file, data = damaged(seeds[layout], kind, 100 + number)
        (folder / file.name).write_bytes(data)
        with limited():
            ended = psfmatch("info", folder / seeds[layout].name)
        check(ended, (kind, 100 + number, file.name))
        shutil.copyfile(file, folder / file.name)


def check(ended, what):
    """Success, or an exit status of ours and one line that says why, after warnings."""
    lines = ended.err.splitlines()
    assert ended.status in (0, 1, 2, 3), (what, ended)
    assert "internal error" not in ended.err, (what, ended.err)
    assert all(line.startswith("psfmatch: ") for line in lines), (what, ended.err)
    errors = [line for line in lines if line.startswith("psfmatch: error: ")]
    assert len(errors) == (ended.status != 0), (what, ended.err)
    assert ended.status == 0 or lines[-1] == errors[0], (what, ended.err)


#: Settings of a small image without a spatial change, which save time.
FAST = ("--kernel-order", "0", "--background-order", "0", "--kernel-size", "11", "--no-adapt")
ONLY_THE_DIFFERENCE = ("--no-matched", "--no-kernel", "--no-metadata")
SMALL = ("--template-fwhm", "3.2", "--science-fwhm", "3.9")


def small_exposure(path, fwhm, kind):
    """Sixteen stars on 100 x 100 pixels, the same ones in each file."""
    shape = (100, 100)
    y, x = 15.0 + 23 * np.tile(np.arange(4), 4), 15.0 + 23 * np.repeat(np.arange(4), 4)
    rng = np.random.default_rng(int(fwhm * 10))
    light = gaussian_stars(shape, x, y, np.geomspace(2e4, 9e4, 16), fwhm / 2.3548)
    image = np.rint(rng.poisson(light + 800.0) / 2.0)
    header = fits.Header({"GAIN": 2.0, "RDNOISE": 3.0})
    with small_images():
        header.update(made_files.sky_cards())
    if kind == "tiles":
        made = [fits.PrimaryHDU(), fits.CompImageHDU(image.astype(np.int32), header, compression_type="RICE_1")]
    else:
        made = [fits.PrimaryHDU(image.astype(np.uint16 if kind == "plain" else np.float32), header)]
        if kind == "lsst":
            made = [fits.PrimaryHDU(), *(lsst_plane(image, name, header) for name in ("IMAGE", "MASK", "VARIANCE"))]
    fits.HDUList(made).writeto(path)


def lsst_plane(image, name, header):
    planes = {"IMAGE": image.astype(np.float32), "MASK": np.zeros(image.shape, np.int32)}
    hdu = fits.ImageHDU(planes.get(name, (image / 2).astype(np.float32)), header if name == "IMAGE" else None)
    hdu.header["EXTTYPE"] = name
    return hdu


@pytest.mark.parametrize("kind", ["plain", "lsst", "tiles"])
def test_the_command_subtract_ends_with_a_line(kind, tmp_path, psfmatch):
    files = {"template": tmp_path / "template.fits", "science": tmp_path / "science.fits"}
    for path, fwhm in zip(files.values(), (3.2, 3.9), strict=True):
        small_exposure(path, fwhm, kind)
    valid = {role: path.read_bytes() for role, path in files.items()}
    line = (
        "subtract",
        files["template"],
        files["science"],
        "-o",
        "d.fits",
        "--no-matched",
        "--overwrite",
        *SMALL,
        *FAST,
    )
    assert psfmatch(*line).status == 0
    outcomes = set()
    for number, damage in enumerate(list(KINDS) * 3):
        role = ("template", "science")[number % 2]
        rng = np.random.default_rng([7, number])
        files[role].write_bytes(KINDS[damage](valid[role], rng))
        before = Path("d.fits").read_bytes()
        with limited():
            ended = psfmatch(*line)
        check(ended, (kind, role, damage, number))
        outcomes.add(ended.status)
        if ended.status:
            assert Path("d.fits").read_bytes() == before, "a run that fails leaves an earlier output as it was"
        else:
            assert np.isfinite(read_exposure("d.fits").image).any()
        files[role].write_bytes(valid[role])
    assert {0, 1} <= outcomes
