import logging

import numpy as np
import pytest

from psfmatch_cli.archive import (
    ZERO_MAGNITUDE_FLUX,
    Archive,
    ArchiveTable,
    archived_filter,
    archived_fluxmag0,
    archived_psf,
    archived_psf_sigma,
)


def rows(**columns):
    """A table of one row."""
    dtype = [
        (name, np.asarray(value).dtype, np.shape(value)) if np.ndim(value) else (name, np.asarray(value).dtype)
        for name, value in columns.items()
    ]
    table = np.zeros(1, dtype)
    for name, value in columns.items():
        table[name][0] = value
    return table


def archive(*objects):
    """Archive of (id, name, row table[, header]), each in a data table of its own."""
    index = np.zeros(
        len(objects),
        [("id", "i4"), ("cat.archive", "i4"), ("row0", "i4"), ("nrows", "i4"), ("name", "U32"), ("module", "U32")],
    )
    tables = []
    for n, (number, name, table, *header) in enumerate(objects):
        index[n] = (number, n + 1, 0, len(table), name, "")
        tables.append(ArchiveTable({"AR_CATN": n + 1, **(header[0] if header else {})}, table))
    return Archive(ArchiveTable({}, index), tables)


def test_objects_are_found_by_the_cards_of_the_primary_header():
    stored = archive((4, "PhotoCalib", rows(calibrationMean=2.0)), (9, "FilterLabel", rows(band="r")))
    assert stored.attached({"PHOTOCALIB_ID": 4}, "PHOTOCALIB").name == "PhotoCalib"
    assert stored.attached({"ARCHIVE_ID_FILTER": 9}, "FILTER").name == "FilterLabel"
    assert stored.attached({"PSF_ID": 0}, "PSF") is None
    assert stored.attached({}, "PSF") is None
    assert stored.attached({"PSF_ID": 5}, "PSF") is None


def test_rows_of_a_shared_table_are_told_apart():
    index = np.array([(1, 1, 0, 1, "A"), (2, 1, 1, 2, "B")], "i4,i4,i4,i4,U8")
    index.dtype.names = ("id", "cat.archive", "row0", "nrows", "name")
    data = np.array([(10.0,), (20.0,), (30.0,)], [("v", "f8")])
    stored = Archive(ArchiveTable({}, index), [ArchiveTable({"AR_CATN": 1}, data)])
    assert stored.get(2).rows["v"].tolist() == [20.0, 30.0]
    assert stored.get(1).value("v") == 10.0


def test_calibration_is_counts_of_magnitude_zero():
    stored = archive((1, "PhotoCalib", rows(calibrationMean=57.5)))
    assert archived_fluxmag0(stored.get(1)) == ZERO_MAGNITUDE_FLUX / 57.5
    assert archived_fluxmag0(archive((1, "PhotoCalib", rows(calibrationMean=0.0))).get(1)) is None


@pytest.mark.parametrize(("flags", "name"), [([True, True], "r_DECam"), ([True, False], "r"), ([False, False], None)])
def test_filter_is_the_physical_name_else_the_band(flags, name):
    header = {"TFLAG1": "band_exists", "TFLAG2": "physical_exists"}
    label = rows(flags=flags, band="r", physical="r_DECam")
    assert archived_filter(archive((1, "FilterLabel", label, header)).get(1)) == name


def gaussian(shape, sigma):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-0.5 * ((y - shape[0] // 2) ** 2 + (x - shape[1] // 2) ** 2) / sigma**2)


DIMENSIONS = [
    {"dimensions": [25, 21]},
    {"dimensions_x": 25, "dimensions_y": 21},
    {"dimensions.x": 25, "dimensions.y": 21},
]


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("name", ["SingleGaussianPsf", "GaussianPsf"])
def test_gaussian_psf(name, dimensions):
    stored = archive((3, name, rows(sigma=1.7, **dimensions)))
    psf = archived_psf(stored, stored.get(3), "f")
    expected = gaussian((21, 21), 1.7)
    np.testing.assert_allclose(psf.image, expected / expected.sum(), atol=1e-15)
    assert psf.origin == f"attached {name}"


def test_double_gaussian_psf():
    stored = archive((3, "DoubleGaussianPsf", rows(dimensions=[31, 31], sigma1=1.5, sigma2=4.0, b=0.1)))
    expected = gaussian((31, 31), 1.5) + 0.1 * gaussian((31, 31), 4.0)
    np.testing.assert_allclose(archived_psf(stored, stored.get(3), "f").image, expected / expected.sum(), atol=1e-15)


def test_kernel_psf_is_the_image_of_its_kernel():
    image = gaussian((21, 21), 2.0) * (1 + 0.05 * np.arange(21))[:, None]
    stored = archive(
        (5, "KernelPsf", rows(kernel=6)), (6, "FixedKernel", rows(dimensions=[21, 21], image=image.ravel()))
    )
    psf = archived_psf(stored, stored.get(5), "f")
    top = np.unravel_index(np.argmax(image), image.shape)
    assert psf.image.sum() == pytest.approx(1)
    assert psf.image[psf.image.shape[0] // 2, psf.image.shape[0] // 2] == psf.image.max()
    assert psf.image[0, 0] / psf.image.max() == pytest.approx(image[2 * top[0] - 20, 0] / image.max())


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([(5, "PiffPsf", rows(bytes=1))], r"the attached PSF \(PiffPsf\) cannot be read; a FWHM or a PSF file"),
        ([(5, "KernelPsf", rows(kernel=6)), (6, "AnalyticKernel", rows(a=1))], "cannot be read"),
        ([(5, "GaussianPsf", rows(dimensions=[5, 5]))], "is not as expected"),
        (
            [(5, "KernelPsf", rows(kernel=6)), (6, "FixedKernel", rows(dimensions=[3, 3], image=[1.0]))],
            "not as expected",
        ),
    ],
)
def test_psfs_that_cannot_be_read_are_reported(caplog, objects, message):
    import re

    stored = archive(*objects)
    with caplog.at_level(logging.INFO):
        assert archived_psf(stored, stored.get(5), "f") is None
    assert re.search(message, caplog.text)


TEXT = "decl: -1.5\npsfArea: 40.1\npsfSigma: 1.875\nversion: 0\n"


@pytest.mark.parametrize(
    "column",
    [
        {"bytes": np.frombuffer(TEXT.encode(), np.uint8)},
        {"text": np.array(TEXT)},
        {"other": 1, "bytes": np.array(TEXT)},
    ],
)
def test_the_width_of_the_psf_from_the_attached_statistics(column):
    stored = archive((7, "FilterLabel", rows(band="r")), (3, "ExposureSummaryStats", rows(**column)))
    assert archived_psf_sigma(stored) == 1.875


@pytest.mark.parametrize(
    "text", ["psfSigma: .nan", "psfSigma: 0.0", "psfsigma: 2.0", "psfSigma: 1.8; import os", "psfSigma: e", ""]
)
def test_statistics_without_a_width_say_nothing(text):
    assert archived_psf_sigma(archive((3, "ExposureSummaryStats", rows(text=np.array(text or " "))))) is None
    assert archived_psf_sigma(archive((3, "FilterLabel", rows(band="r")))) is None
