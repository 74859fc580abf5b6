import logging
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.io import ReadOptions, read_exposure, write_exposure
from psfmatch_cli.psf import gaussian_psf

SHAPE = (60, 70)


def sky_image(seed=1, level=400.0):
    return np.random.default_rng(seed).poisson(level, SHAPE).astype(np.float32)


def same_bits(a, b):
    """Whether two arrays are equal to the last bit, NaN included."""
    return a.dtype == b.dtype and np.array_equal(a.view(np.uint32), b.view(np.uint32))


def sky_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [30.5, 25.0]
    wcs.wcs.cdelt = [-1e-4, 1e-4]
    wcs.wcs.set()
    return wcs


def lsst_hdus(image=None, mask=None, variance=None):
    image = sky_image() if image is None else image
    hdus = [fits.PrimaryHDU()]
    mask = np.zeros(image.shape, np.int32) if mask is None else mask
    variance = np.full(image.shape, 400, np.float32) if variance is None else variance
    for word, plane in (("IMAGE", image), ("MASK", mask), ("VARIANCE", variance)):
        hdus.append(fits.ImageHDU(plane))
        hdus[-1].header["EXTTYPE"] = word
    hdus[2].header["MP_BAD"] = 0
    hdus[2].header["MP_SAT"] = 1
    hdus[2].header["HIERARCH MP_NO_DATA"] = 9
    hdus[2].header["HIERARCH MP_CROSSTALK"] = 8
    return fits.HDUList(hdus)


def save(hdus, path):
    hdus.writeto(path)
    return path


# --- what is written comes back ---------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,18}", fullmatch=True)


@st.composite
def masked_images(draw):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    bits = st.integers(0, 2**32 - 1)
    planes = [
        np.array(draw(st.lists(bits, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])), np.uint32)
        for _ in range(3)
    ]
    image, variance = (plane.view(np.float32).reshape(shape) for plane in planes[:2])
    image.flat[0], variance.flat[-1] = 1.0, 2.0
    variance.flat[0] = 3.0
    names = draw(st.dictionaries(NAMES, st.integers(0, 31), max_size=29))
    named = {name: bit for bit, name in {bit: name for name, bit in names.items()}.items()}
    mask = planes[2].view(np.int32).reshape(shape) & np.array(sum(1 << b for b in named.values()), np.uint32).view(
        np.int32
    )
    corner = st.integers(-(2**31), 2**31)
    with np.errstate(invalid="ignore"):
        return MaskedImage.from_arrays(image, mask, variance, named or None, (draw(corner), draw(corner)))


@settings(max_examples=60, deadline=None)
@given(masked_images(), st.sampled_from([".fits", ".fits.gz", ".fits.fz"]))
def test_any_masked_image_comes_back_bit_for_bit(tmp_path_factory, masked, suffix):
    path = tmp_path_factory.mktemp("io") / f"a{suffix}"
    write_exposure(path, Exposure(masked))
    found = read_exposure(path).masked_image
    assert same_bits(found.image, masked.image)
    assert same_bits(found.mask, masked.mask)
    assert same_bits(found.variance, masked.variance)
    assert found.planes == masked.planes
    assert found.xy0 == masked.xy0


def test_what_belongs_to_the_exposure_comes_back(tmp_path):
    masked = MaskedImage.from_arrays(sky_image(), None, np.ones(SHAPE), xy0=(5, -6))
    header = fits.Header({"EXPTIME": 30.0, "BUNIT": "adu"})
    made = Exposure(masked, sky_wcs(), gaussian_psf(2.7), header, 1.5e10, "r_01")
    write_exposure(tmp_path / "a.fits", made)
    found = read_exposure(tmp_path / "a.fits")
    assert (found.fluxmag0, found.filter, found.xy0, found.name) == (1.5e10, "r_01", (5, -6), "a.fits")
    assert (found.header["EXPTIME"], found.header["BUNIT"]) == (30.0, "adu")
    np.testing.assert_array_equal(found.psf.image, made.psf.image)
    assert found.psf.origin == "PSF extension"
    grid = np.array([[0, 0], [69, 59]])
    np.testing.assert_array_equal(found.wcs.all_pix2world(grid, 0), made.wcs.all_pix2world(grid, 0))
    assert found.noise.origin == "plane"


def test_writing_twice_changes_nothing(tmp_path):
    made = Exposure(MaskedImage.from_arrays(sky_image(), None, np.ones(SHAPE)), sky_wcs(), header=fits.Header({"A": 1}))
    write_exposure(tmp_path / "a.fits", made)
    write_exposure(tmp_path / "b.fits", read_exposure(tmp_path / "a.fits"))
    write_exposure(tmp_path / "c.fits", read_exposure(tmp_path / "b.fits"))
    assert (tmp_path / "b.fits").stat().st_size == (tmp_path / "c.fits").stat().st_size
    assert len(fits.getheader(tmp_path / "b.fits")) == len(fits.getheader(tmp_path / "c.fits"))


# --- the LSST layout --------------------------------------------------------------------------------


def test_mask_planes_go_by_their_cards(tmp_path):
    mask = np.zeros(SHAPE, np.uint16)
    mask[1, 2], mask[3, 4] = 1 << 8, 1 << 9
    found = read_exposure(save(lsst_hdus(mask=mask), tmp_path / "a.fits"))
    assert np.argwhere(found.masked_image.flagged(["CROSSTALK"])).tolist() == [[1, 2]]
    assert np.argwhere(found.masked_image.flagged(["NO_DATA"])).tolist() == [[3, 4]]
    assert found.mask.dtype == np.int32


def test_origin_is_parent_and_wcs_is_of_the_array(tmp_path):
    hdus = lsst_hdus()
    hdus[1].header.update({"CRPIX1A": 1, "CRPIX2A": 1, "CRVAL1A": 24, "CRVAL2A": 9, "CTYPE1A": "LINEAR"})
    hdus[1].header.update(sky_wcs().to_header())
    found = read_exposure(save(hdus, tmp_path / "a.fits"))
    assert found.xy0 == (24, 9)
    # CRPIX counts from 1, the array from 0.
    np.testing.assert_allclose(found.wcs.wcs_pix2world([[29.5, 24.0]], 0), [[150.0, 2.0]], rtol=0, atol=1e-10)


def test_cards_of_the_primary_apply_unless_repeated(tmp_path):
    hdus = lsst_hdus()
    hdus[0].header.update({"EXPTIME": 30.0, "FILTER": "i", "FLUXMAG0": 2.5e9, "AIRMASS": 1.1})
    hdus[0].header.add_history("of the primary")
    hdus[1].header["AIRMASS"] = 1.2
    hdus[1].header.add_history("of the image")
    found = read_exposure(save(hdus, tmp_path / "a.fits"))
    assert (found.header["EXPTIME"], found.header["AIRMASS"]) == (30.0, 1.2)
    assert (found.fluxmag0, found.filter) == (2.5e9, "i")
    assert sorted(found.header["HISTORY"]) == ["of the image", "of the primary"]


def test_planes_of_three_axes_are_accepted(tmp_path):
    hdus = lsst_hdus(sky_image()[None], np.zeros((1, *SHAPE), np.int16), np.ones((1, *SHAPE), np.float32))
    assert read_exposure(save(hdus, tmp_path / "a.fits")).shape == SHAPE


def test_variance_that_cannot_be_used_is_bad(tmp_path):
    variance = np.full(SHAPE, 4, np.float32)
    variance[0, :4] = [0, -1, np.nan, np.inf]
    image = sky_image()
    image[5, 5] = np.inf
    found = read_exposure(save(lsst_hdus(image, variance=variance), tmp_path / "a.fits")).masked_image
    assert np.argwhere(found.flagged(["BAD"])).tolist() == [[0, 0], [0, 1], [0, 2], [0, 3]]
    assert np.argwhere(found.flagged(["NO_DATA"])).tolist() == [[5, 5]]


def test_a_missing_variance_is_worked_out_aloud(tmp_path, caplog):
    hdus = lsst_hdus()
    del hdus[3]
    found = read_exposure(save(hdus, tmp_path / "a.fits"), role="template")
    # 4200 pixels give the sky variance to 2 %; three times that.
    assert np.median(found.variance) == pytest.approx(400, rel=0.07)
    assert found.noise.origin == "gain"
    assert "template a.fits: no variance plane in the file" in caplog.text


def test_a_missing_mask_is_reported(tmp_path, caplog):
    hdus = lsst_hdus()
    del hdus[2]
    found = read_exposure(save(hdus, tmp_path / "a.fits"))
    assert not found.mask.any()
    assert (found.variance == 400).all()
    assert "no mask plane in the file" in caplog.text


def test_a_variance_of_zeros_stops_early(tmp_path):
    path = save(lsst_hdus(variance=np.zeros(SHAPE, np.float32)), tmp_path / "a.fits")
    with pytest.raises(InputError, match="no positive value; give gain and read noise"):
        read_exposure(path)


def attach(hdus, objects):
    """Append an archive: (id, name, {column: value}) each in a table of its own."""
    index = np.array(
        [(number, n, 0, 1, name, "m") for n, (number, name, _) in enumerate(objects, 1)],
        [("id", "i4"), ("cat.archive", "i4"), ("row0", "i4"), ("nrows", "i4"), ("name", "S32"), ("module", "S8")],
    )
    tables = [fits.BinTableHDU(index)]
    tables[0].header["EXTTYPE"] = "ARCHIVE_INDEX"
    for n, (_, _, columns) in enumerate(objects, 1):
        dtype = [(name, np.asarray(value).dtype, np.shape(value)) for name, value in columns.items()]
        tables.append(fits.BinTableHDU(np.array([tuple(columns.values())], dtype)))
        tables[-1].header["AR_CATN"] = n
    hdus[0].header["AR_HDU"] = len(hdus) + 1
    hdus.extend(tables)
    return hdus


def test_attached_psf_calibration_and_filter(tmp_path):
    image = gaussian_psf(3.0).image
    hdus = attach(
        lsst_hdus(),
        [
            (1, "PhotoCalib", {"calibrationMean": 100.0}),
            (2, "KernelPsf", {"kernel": 3}),
            (3, "FixedKernel", {"dimensions": np.array(image.shape, np.int32), "image": image.ravel()}),
            (4, "FilterLabel", {"band": b"r", "physical": b"HSC-R"}),
        ],
    )
    hdus[0].header["FLUXMAG0"] = 1.0
    hdus[0].header["HIERARCH PHOTOCALIB_ID"] = 1
    hdus[0].header["HIERARCH ARCHIVE_ID_PSF"] = 2
    hdus[0].header["HIERARCH FILTER_ID"] = 4
    found = read_exposure(save(hdus, tmp_path / "a.fits"))
    assert found.fluxmag0 == pytest.approx(3.6307805477e10)
    assert found.filter == "HSC-R"
    np.testing.assert_allclose(found.psf.image, image, atol=1e-15)


def test_an_attached_psf_that_cannot_be_read_is_none(tmp_path, caplog):
    hdus = attach(lsst_hdus(), [(2, "PsfexPsf", {"bytes": 1})])
    hdus[0].header["PSF_ID"] = 2
    with caplog.at_level(logging.INFO):
        assert read_exposure(save(hdus, tmp_path / "a.fits")).psf is None
    assert "the attached PSF (PsfexPsf) cannot be read" in caplog.text


def test_attached_statistics_tell_a_width_that_is_not_a_psf(tmp_path):
    text = np.frombuffer(b"psfArea: 30.0\npsfSigma: 1.5\nskyBg: 12.0\n", np.uint8)
    hdus = attach(lsst_hdus(), [(2, "ExposureSummaryStats", {"bytes": text})])
    found = read_exposure(save(hdus, tmp_path / "a.fits"))
    assert found.psf is None
    assert found.facts.quantities["fwhm"].value == pytest.approx(2.3548 * 1.5, rel=1e-4)
    assert found.facts.quantities["fwhm"].source == "attached statistics, PSF sigma 1.5 px"


# --- plain files ------------------------------------------------------------------------------------


def plain(path, image, **cards):
    hdu = fits.PrimaryHDU(image)
    hdu.header.update(cards)
    hdu.writeto(path)
    return path


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64, np.uint8])
def test_pixel_types(tmp_path, dtype):
    image = np.random.default_rng(1).poisson(90, SHAPE).astype(dtype)
    found = read_exposure(plain(tmp_path / "a.fits", image, GAIN=1.0, RDNOISE=0.1))
    np.testing.assert_array_equal(found.image, image.astype(np.float32))
    assert found.image.dtype == np.float32
    assert found.image.dtype.isnative
    assert found.image.flags.c_contiguous
    assert found.xy0 == (0, 0)


def test_undefined_integers_are_no_data(tmp_path):
    hdu = fits.PrimaryHDU(sky_image().astype(np.int16))
    hdu.data[4, 5] = -32768
    hdu.header["BLANK"] = -32768
    hdu.writeto(tmp_path / "a.fits")
    found = read_exposure(tmp_path / "a.fits")
    assert np.argwhere(found.masked_image.flagged(["NO_DATA"])).tolist() == [[4, 5]]
    assert np.isnan(found.image[4, 5])


@pytest.mark.parametrize("suffix", [".fits.fz", ".fits", ".fit", ".fits.gz"])
def test_compressed_files(tmp_path, suffix):
    image = sky_image().astype(np.int16)
    path = tmp_path / f"a{suffix}"
    if suffix in (".fits.fz", ".fits"):
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, compression_type="RICE_1", name="N4")]).writeto(path)
        np.testing.assert_array_equal(read_exposure(f"{path}[N4]").image, image)
    else:
        plain(path, image)
    np.testing.assert_array_equal(read_exposure(path).image, image)


def science_file(path, **changes):
    """SCI, ERR and DQ of two chips."""
    hdus = fits.HDUList([fits.PrimaryHDU()])
    hdus[0].header["INSTRUME"] = "CAMERA"
    for chip in (1, 2):
        error = np.full(SHAPE, 10.0 * chip, np.float32)
        error[0, :3] = [-1.0, np.nan, 0.0]
        flags = np.zeros(SHAPE, np.int16)
        flags[7, 8], flags[9, 9] = 4, 256
        for name, plane in (("SCI", sky_image(chip)), ("ERR", error), ("DQ", flags)):
            hdus.append(fits.ImageHDU(plane, name=name, ver=chip))
    for key, value in changes.items():
        hdus[0].header[key] = value
    hdus.writeto(path)
    return path


def test_science_error_and_quality_in_one_file(tmp_path):
    path = science_file(tmp_path / "a.fits")
    for text, chip in ((path, 1), (f"{path}[SCI,2]", 2), (f"{path}[4]", 2)):
        found = read_exposure(text)
        np.testing.assert_array_equal(found.image, sky_image(chip))
        assert found.variance[30, 30] == (10 * chip) ** 2
        bad = [[0, 0], [0, 1], [0, 2], [7, 8], [9, 9]]
        assert np.argwhere(found.masked_image.flagged(["BAD"])).tolist() == bad
    assert read_exposure(f"{path}[SCI,2]").name == "a.fits[SCI,2]"
    np.testing.assert_array_equal(read_exposure(path, ReadOptions(image_hdu="sci,2")).image, sky_image(2))


def test_a_mask_map_names_the_planes(tmp_path):
    found = read_exposure(
        science_file(tmp_path / "a.fits"), ReadOptions(mask_map={256: "SAT", 4: "CROSSTALK"})
    ).masked_image
    assert np.argwhere(found.flagged(["SAT"])).tolist() == [[9, 9]]
    assert np.argwhere(found.flagged(["CROSSTALK"])).tolist() == [[7, 8]]


def test_planes_from_other_files(tmp_path):
    image = plain(tmp_path / "a.fits", sky_image())
    flags = np.zeros(SHAPE, np.uint8)
    flags[2, 3] = 1
    mask = plain(tmp_path / "mask.fits", flags)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.full(SHAPE, 5.0), name="RMS")]).writeto(tmp_path / "n.fits")
    for options, value, origin in (
        ({"noise": tmp_path / "n.fits"}, 25.0, "noise file"),
        ({"variance": f"{tmp_path}/n.fits[RMS]"}, 5.0, "variance file"),
        ({"weight": f"{tmp_path}/n.fits[1]"}, 0.2, "weight file"),
    ):
        found = read_exposure(image, ReadOptions(mask=mask, **options))
        np.testing.assert_allclose(found.variance, value, rtol=1e-6)
        assert found.noise.origin == origin
        assert np.argwhere(found.masked_image.flagged(["BAD"])).tolist() == [[2, 3]]


def test_options_replace_what_the_file_holds(tmp_path):
    path = save(lsst_hdus(), tmp_path / "a.fits")
    noise = plain(tmp_path / "n.fits", np.full(SHAPE, 3.0))
    found = read_exposure(path, ReadOptions(noise=noise, fwhm=2.5, zero_point=25.0, band="g"))
    assert (found.variance == 9).all()
    assert found.psf.fwhm == pytest.approx(gaussian_psf(2.5).fwhm)
    assert (found.fluxmag0, found.filter) == (pytest.approx(1e10), "g")


def test_psf_file(tmp_path):
    psf = plain(tmp_path / "psf.fits", 7 * gaussian_psf(3.0).image)
    found = read_exposure(plain(tmp_path / "a.fits", sky_image()), ReadOptions(psf=psf)).psf
    np.testing.assert_allclose(found.image, gaussian_psf(3.0).image, rtol=1e-12)
    assert found.origin == f"file {psf}"


def test_one_line_says_where_the_variance_came_from(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        read_exposure(plain(tmp_path / "a.fits", sky_image(), GAIN=1.02), role="science")
    lines = [record.getMessage() for record in caplog.records if "variance:" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("science a.fits: 70 x 60 pixels; variance: gain")
    assert "header GAIN" in lines[0]
    assert lines[0].endswith("BAD 0, SAT 0, NO_DATA 0")


def test_the_wcs_of_the_primary_serves_an_image_without(tmp_path):
    primary = fits.PrimaryHDU()
    primary.header.update(sky_wcs().to_header())
    fits.HDUList([primary, fits.ImageHDU(sky_image())]).writeto(tmp_path / "a.fits")
    wcs = read_exposure(tmp_path / "a.fits").wcs
    np.testing.assert_allclose(wcs.wcs_pix2world([[29.5, 24.0]], 0), [[150.0, 2.0]], rtol=0, atol=1e-10)


def test_old_names_of_coordinate_systems_are_accepted(tmp_path):
    header = sky_wcs().to_header()
    header.remove("RADESYS")
    cards = {**header, "RADECSYS": "FK5", "EQUINOX": 2000.0, "DATE-OBS": "05/11/98"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_exposure(plain(tmp_path / "a.fits", sky_image(), **cards))
    assert found.wcs.wcs.radesys == "FK5"


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": 0.0, "CD2_2": 0.0, "CD1_2": 0.0, "CD2_1": 0.0},
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--XYZ"},
    ],
)
def test_no_usable_wcs_is_none(tmp_path, cards):
    assert read_exposure(plain(tmp_path / "a.fits", sky_image(), **cards)).wcs is None


def test_weird_cards_do_not_matter(tmp_path):
    path = plain(tmp_path / "a.fits", sky_image(), GAIN=1.0, ODD=1)
    data = path.read_bytes()
    broken = "GAIN    = 'no closing quote".ljust(80).encode()
    words = "just words without any sense at all".ljust(80).encode()
    start, odd = data.index(b"GAIN    ="), data.index(b"ODD     =")
    data = data[:start] + broken + data[start + 80 : odd] + words + data[odd + 80 :]
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_exposure(path)
        write_exposure(tmp_path / "b.fits", found)
    np.testing.assert_array_equal(read_exposure(tmp_path / "b.fits").image, found.image)


# --- what cannot be read ----------------------------------------------------------------------------


def test_errors_are_one_line_and_name_the_file(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    fits.PrimaryHDU(np.zeros((2, 5, 6), np.float32)).writeto(tmp_path / "cube.fits")
    plain(tmp_path / "nan.fits", np.full(SHAPE, np.nan, np.float32))
    plain(tmp_path / "flat.fits", np.ones(SHAPE, np.float32))
    image = plain(tmp_path / "a.fits", sky_image())
    small = plain(tmp_path / "small.fits", np.zeros((3, 4), np.float32))
    for path, options, message in (
        (tmp_path / "missing.fits", {}, "missing.fits: no such file"),
        (tmp_path / "empty.fits", {}, "no two-dimensional image in the file"),
        (tmp_path / "cube.fits", {}, "no two-dimensional image in the file"),
        (tmp_path / "nan.fits", {}, "no pixel of the image is finite"),
        (tmp_path / "flat.fits", {}, "the sky has no noise to measure"),
        (f"{image}[SCI]", {}, r"no HDU SCI; the file has 0 unnamed \(70 x 60\)"),
        (f"{image}[3]", {}, "no HDU 3"),
        (image, {"mask": small}, "mask file .* has 4 x 3 pixels, the image 70 x 60"),
        (image, {"noise": small}, "noise file .* has 4 x 3 pixels, the image 70 x 60"),
        (image, {"weight": tmp_path / "no.fits"}, "no.fits: no such file"),
        (image, {"psf": tmp_path / "nan.fits"}, "a PSF image .* must be two-dimensional and finite"),
    ):
        with pytest.raises(InputError, match=message) as error:
            read_exposure(path, ReadOptions(**options))
        assert "\n" not in str(error.value)


def test_a_truncated_plane_is_named(tmp_path):
    path = save(lsst_hdus(), tmp_path / "a.fits")
    path.write_bytes(path.read_bytes()[:-12000])
    with pytest.raises(InputError, match="HDU 3 is truncated, 11520 of its 16800 bytes are missing"):
        read_exposure(path)


def test_the_image_hdu_is_given_once(tmp_path):
    with pytest.raises(UsageError, match="given both in brackets and as an option"):
        read_exposure("a.fits[1]", ReadOptions(image_hdu=1))


def test_a_variance_that_is_the_image_itself_has_good_zeros(tmp_path, caplog):
    # A simulated image without sky: its zeros are noise-free, not dead.
    image = np.zeros((40, 50), np.float32)
    image[15:25, 20:30] = np.arange(1, 101).reshape(10, 10)
    written = fits.HDUList([fits.PrimaryHDU()])
    for name, plane in (("IMAGE", image), ("MASK", np.zeros((40, 50), np.int32)), ("VARIANCE", image)):
        written.append(fits.ImageHDU(plane, name=name))
    written["MASK"].header["MP_BAD"] = 0
    written.writeto(tmp_path / "model.fits")
    read = read_exposure(tmp_path / "model.fits").masked_image
    assert not read.mask.any()
    assert 0 < read.variance[0, 0] < 1e-3
    assert "as of a simulation without sky" in caplog.text
    # With noise of its own a zero is a pixel without a variance.
    written["VARIANCE"].data = image + np.where(image > 50, 2, 0).astype(np.float32)
    written.writeto(tmp_path / "noisy.fits")
    assert read_exposure(tmp_path / "noisy.fits").masked_image.flagged(["BAD"])[0, 0]
