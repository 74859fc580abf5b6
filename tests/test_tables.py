import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import Table

from psfmatch_cli.errors import InputError, OutputError, UsageError
from psfmatch_cli.tables import read_table, stack_tables, write_table

SUFFIXES = [".fits", ".fit", ".fits.gz", ".ecsv", ".csv"]


def sources():
    table = Table(
        {
            "id": np.arange(3),
            "x": [1.5, 2.25, 1 / 3],
            "flux": [10.0, np.nan, -3.0],
            "good": [True, False, True],
            "status": ["used", "", "kernel_sum"],
        }
    )
    table["x"].unit = units.pix
    table["flux"].unit = units.Unit("count")
    table.meta = {"nstars": 3, "origin": "test", "nested": {"not": "a card"}}
    return table


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tables_come_back(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_table(path, sources(), cards=[("PMVERS", "1.0", "version"), ("PMBAD", np.nan, "")])
    table = read_table(path)
    expected = sources()
    assert table.colnames == expected.colnames
    for name in ("id", "x", "flux", "good"):
        np.testing.assert_array_equal(np.asarray(table[name]), np.asarray(expected[name]))
    assert table["good"].dtype == bool
    assert [str(value) for value in table["status"]] == ["used", "", "kernel_sum"]
    if suffix != ".csv":
        assert [table["x"].unit, table["flux"].unit] == [units.pix, units.ct]
        meta = {key.upper(): value for key, value in table.meta.items()}
        assert (meta["NSTARS"], meta["ORIGIN"], meta["PMVERS"]) == (3, "test", "1.0")


def test_the_table_that_is_written_is_not_changed(tmp_path):
    table = sources()
    write_table(tmp_path / "a.ecsv", table, cards=[("PMVERS", "1.0", "")])
    write_table(tmp_path / "a.fits", table, cards=[("PMVERS", "1.0", "")])
    assert table.meta == sources().meta


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_tables_come_back(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_table(path, sources()[:0])
    assert len(read_table(path)) == 0
    assert read_table(path).colnames == sources().colnames


def test_units_that_fits_does_not_know_are_kept(tmp_path):
    table = Table({"m": [20.0]})
    table["m"].unit = units.Unit("furlong", parse_strict="silent")
    write_table(tmp_path / "a.fits", table)
    assert fits.getheader(tmp_path / "a.fits", 1)["TUNIT1"] == "furlong"
    assert str(read_table(tmp_path / "a.fits")["m"].unit) == "furlong"


def test_a_table_among_several_is_named(tmp_path):
    hdus = [fits.BinTableHDU(Table({"x": [n]}).as_array(), name=f"T{n}") for n in (1, 2)]
    fits.HDUList([fits.PrimaryHDU(), *hdus, fits.ImageHDU(np.zeros((2, 2)), name="PIC")]).writeto(tmp_path / "a.fits")
    assert read_table(tmp_path / "a.fits")["x"][0] == 1
    assert read_table(f"{tmp_path}/a.fits[T2]")["x"][0] == 2
    assert read_table(f"{tmp_path}/a.fits[2]")["x"][0] == 2
    with pytest.raises(InputError, match=r"\[PIC\]: no table there; the file has 0 unnamed"):
        read_table(f"{tmp_path}/a.fits[PIC]")


def test_the_sources_of_an_ldac_file_are_found(tmp_path):
    names = ("LDAC_IMHEAD", "LDAC_OBJECTS")
    hdus = [fits.BinTableHDU(Table({"x": [n]}).as_array(), name=name) for n, name in enumerate(names)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "a.fits")
    assert read_table(tmp_path / "a.fits")["x"][0] == 1
    assert read_table(f"{tmp_path}/a.fits[LDAC_IMHEAD]")["x"][0] == 0


@pytest.mark.parametrize("name", ["a.txt", "a", "a.fits.zip"])
def test_unknown_suffixes_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"a table file must end in .fits, .fit, .fits.gz, .ecsv, .csv"):
        write_table(tmp_path / name, sources())
    with pytest.raises(UsageError, match="a table file must end in"):
        read_table(tmp_path / name)


def test_what_is_no_table_is_refused(tmp_path):
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "image.fits")
    (tmp_path / "bad.ecsv").write_text("x y\n1 2 3\n")
    (tmp_path / "ragged.csv").write_text("x,y\n1,2,3,4\n")
    for name, message in (
        ("image.fits", "no table there"),
        ("bad.ecsv", "bad.ecsv: not a readable table"),
        ("ragged.csv", "ragged.csv: not a readable table"),
        ("missing.csv", "missing.csv: no such file"),
        ("missing.fits", "missing.fits: no such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_table(tmp_path / name)


def test_existing_files_and_columns_that_cannot_be_stored(tmp_path):
    write_table(tmp_path / "a.csv", sources())
    with pytest.raises(OutputError, match="already exists"):
        write_table(tmp_path / "a.csv", sources())
    write_table(tmp_path / "a.csv", sources()[:1], overwrite=True)
    assert len(read_table(tmp_path / "a.csv")) == 1
    with pytest.raises(OutputError, match=r"b.csv: the table cannot be stored"):
        write_table(tmp_path / "b.csv", Table({"stamp": np.zeros((2, 3, 3))}))
    assert not (tmp_path / "b.csv").exists()


def test_stacked_tables_tell_where_each_row_is_from(tmp_path):
    east = Table({"x": [1.0, 2.0], "ra": [150.0, 151.0], "name": ["a", "b"], "n": [3, 4], "flag": [True, False]})
    west = Table({"x": [5.0]})
    east.meta.update(threshold=10.0, sigma=1.5, unit="adu")
    west.meta.update(threshold=10.0, sigma=1.7)
    stacked = stack_tables({"E": east, "W": west}, "extension")
    assert stacked.colnames == ["extension", "x", "ra", "name", "n", "flag"]
    assert list(stacked["extension"]) == ["E", "E", "W"]
    assert list(stacked["x"]) == [1.0, 2.0, 5.0]
    assert np.isnan(stacked["ra"][2])
    assert list(stacked[2]["name", "n", "flag"]) == ["", -1, False]
    assert dict(stacked.meta) == {"threshold": 10.0}
    assert east.colnames[0] == "x", "the input is unchanged"
    for name in ("a.fits", "a.ecsv"):
        write_table(tmp_path / name, stacked)
        assert list(read_table(tmp_path / name)["extension"]) == ["E", "E", "W"]
