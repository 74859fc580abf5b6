"""DS9 region files: what is read of them, and how candidates are written."""

import logging

import numpy as np
import pytest
from astropy.table import Table

from psfmatch_cli.errors import InputError, OutputError, UsageError
from psfmatch_cli.regions import COLORS, is_region_file, read_regions, write_regions

#: 13h29m52.7s, +47d11m43s.
RA, DEC = 15 * (13 + 29 / 60 + 52.7 / 3600), 47 + 11 / 60 + 43 / 3600


@pytest.fixture
def read(tmp_path):
    """Function that reads a text and gives rows (system, first, second)."""

    def rows(text: str) -> list[tuple[str, float, float]]:
        path = tmp_path / "test.reg"
        path.write_text(text, encoding="utf-8")
        return [tuple(row) for row in read_regions(path)]

    return rows


def test_a_file_as_ds9_writes_it(read):
    text = """# Region file format: DS9 version 4.1
global color=green dashlist=8 3 width=1 font="helvetica 10 normal roman" select=1 fixed=0 edit=1
fk5
circle(202.5,47.2,20") # color=red text={a (b); c # d} tag={one} tag={two}
-circle(202.6,47.2,20.5")
ellipse(13:29:52.7,+47:11:43,40.0",20',45)
# vector(202.48,47.2,10",0) vector=1
# composite(202.4,47.1,0) || composite=1
box(202.4,47.1,1.5",2",0) ||
annulus(202.3,47.0,1",2",3") # width=2
point(202.2,46.9) # point=x
"""
    expected = [(202.5, 47.2), (RA, DEC), (202.4, 47.1), (202.3, 47.0), (202.2, 46.9)]
    found = read(text)
    assert [row[0] for row in found] == ["fk5"] * 5
    np.testing.assert_allclose([row[1:] for row in found], expected, rtol=1e-14)


@pytest.mark.parametrize(
    "line",
    [
        "circle(100,200,5)",
        "circle 100 200 5",
        "circle(100 200 5)",
        "circle( 100, 200, 5 )",
        "+circle(100,200,5)",
        "CIRCLE(1e2,200.,5)",
        "cross point 100 200",
        "point(100,200)",
        "ellipse(100,200,5,4,30)",
        "box(100,200,5,4)",
        "annulus(100,200,5,4)",
        "polygon(90,190,110,190,110,210,90,210)",
        "circle(100,200,5);",
        "  circle(100,200,5)  # text='a;b'",
    ],
)
def test_ways_to_write_a_place(read, line):
    assert read(f"image\n{line}\n") == [("image", 100.0, 200.0)]
    assert read(f"image; {line}\r\n") == [("image", 100.0, 200.0)]


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("fk5", "fk5"),
        ("J2000", "fk5"),
        ("icrs", "icrs"),
        ("FK4", "fk4"),
        ("b1950", "fk4"),
        ("galactic", "galactic"),
        ("image", "image"),
        ("physical", "physical"),
    ],
)
def test_coordinate_systems(read, system, name):
    assert read(f"{system}\npoint(10,20)") == [(name, 10.0, 20.0)]


def test_without_a_system_coordinates_are_physical_and_systems_stay_until_the_next(read):
    text = "point(1,2)\nimage;point(3,4);fk5\npoint(5,6) # tag={a;b};point(7,8)"
    assert read(text) == [("physical", 1, 2), ("image", 3, 4), ("fk5", 5, 6), ("fk5", 7, 8)]


@pytest.mark.parametrize(
    ("system", "first", "second", "expected"),
    [
        ("fk5", "13:29:52.7", "47:11:43", (RA, DEC)),
        ("icrs", "13h29m52.7s", "+47d11m43s", (RA, DEC)),
        ("fk5", "202d28m10.5s", "-0:30:00", (RA, -0.5)),
        ("fk5", f"{RA}d", f"{DEC}d", (RA, DEC)),
        ("fk5", f"{np.deg2rad(RA)}r", f"{-np.deg2rad(DEC)}r", (RA, -DEC)),
        ("galactic", "202:28:10.5", "-47:11:43", (RA, -DEC)),
        ("fk5", "202.469583333333333", "-00d30m0s", (RA, -0.5)),
    ],
)
def test_angles(read, system, first, second, expected):
    ((_, *found),) = read(f"{system};point({first},{second})")
    # 1e-12 degrees: the rounding of double precision.
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_polygon_is_taken_by_its_centre_of_gravity(read):
    # An L of three unit squares: (0.5, 0.5), (1.5, 0.5), (0.5, 1.5).
    ((_, x, y),) = read("image;polygon(0,0,2,0,2,1,1,1,1,2,0,2)")
    np.testing.assert_allclose([x, y], [2.5 / 3, 2.5 / 3], rtol=1e-14)
    # Clockwise, and far from the origin.
    ((_, x, y),) = read("image;polygon(9000,9000,9000,9002,9001,9002,9001,9001,9002,9001,9002,9000)")
    np.testing.assert_allclose([x, y], [9000 + 2.5 / 3, 9000 + 2.5 / 3], rtol=1e-14)
    # Without an area: its vertices.
    assert read("image;polygon(1,1,3,3,5,5)") == [("image", 3.0, 3.0)]


def test_a_polygon_may_lie_across_right_ascension_0(read):
    ((_, ra, dec),) = read("fk5;polygon(359.9,10,0.1,10,0.1,10.2,359.9,10.2)")
    assert (ra % 360.0, dec) == pytest.approx((0.0, 10.1), abs=1e-12)


def test_excluded_regions_are_left_out_and_counted(read, caplog):
    with caplog.at_level(logging.INFO):
        assert read("image\n-circle(1,2,3)\n!box(1,2,3,4)\ncircle(5,6,7)") == [("image", 5.0, 6.0)]
    assert "1 regions; 2 excluded ones are left out" in caplog.text


def test_a_file_without_regions_is_an_empty_table(read):
    assert read("# nothing\nglobal color=red\nfk5\n\n") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("circle(1,2", r"'circle\(1,2' is no region"),
        ("line(1,2,3,4)", "neither a shape with a centre .*circle.* nor a coordinate system that is known .*icrs"),
        ("ecliptic", "'ecliptic' is neither"),
        ("linear; circle(1,2,3)", "'linear' is neither"),
        ("circle(1,2)", "has 2 arguments; a circle has at least 3"),
        ("polygon(1,2,3,4,5,6,7)", "has 7 arguments; a polygon"),
        ("circle(1,b,3)", "'b' is no coordinate"),
        ("circle(1,nan,3)", "'nan' is no coordinate"),
        ("circle(1,,3)", "has 2 arguments"),
        ("circle(1,95,3)", "the latitude '95' is beyond the pole"),
        ("circle(13:61:00,2,3)", "'13:61:00' has 60 or more minutes"),
        ("circle(13h10,2,3)", "'13h10' is no coordinate"),
        ("1 2 3", "'1 2 3' is no region"),
    ],
)
def test_a_bad_line_is_named(read, line, message):
    with pytest.raises(InputError, match=rf"test\.reg, line 3: .*{message}"):
        read(f"# first\nfk5\n{line}\ncircle(1,2,3)\n")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_regions(tmp_path / "none.reg")
    (tmp_path / "binary.reg").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a readable region file"):
        read_regions(tmp_path / "binary.reg")
    with pytest.raises(InputError, match="is a folder, expected a region file"):
        read_regions(tmp_path)


def candidates() -> Table:
    return Table(
        {
            "x": [510.25, 520.0, 530.5, 540.0, np.nan],
            "y": [-39.0, -30.125, 0.0, 20.0, 1.0],
            "status": ["used", "rejected", "refused", "unused", "refused"],
            "reason": ["", "kernel-sum", "faint", "", "not-finite"],
        }
    )


def test_candidates_are_circles_in_the_colour_of_their_status(tmp_path):
    path = tmp_path / "c.reg"
    write_regions(path, candidates(), (500, -40), 10.5, cards=[("PMSCI", "science.fits", "science file")])
    lines = path.read_text().splitlines()
    assert lines[0] == "# Region file format: DS9 version 4.1"
    assert "# PMSCI = science.fits" in lines
    assert lines[lines.index("image") + 1 :] == [
        "circle(11.250000,2.000000,10.5) # color=green tag={used}",
        "circle(21.000000,10.875000,10.5) # color=red tag={rejected} text={kernel-sum}",
        "-circle(31.500000,41.000000,10.5) # color=grey tag={refused} text={faint}",
        "circle(41.000000,61.000000,10.5) # color=cyan tag={unused}",
    ]


def test_what_was_not_refused_is_read_back(tmp_path):
    write_regions(tmp_path / "c.reg", candidates(), (500, -40), 10)
    found = read_regions(tmp_path / "c.reg")
    assert set(found["ds9_system"]) == {"image"}
    assert found["ds9_first"].tolist() == [11.25, 21.0, 41.0]


def test_every_status_has_a_colour():
    from psfmatch_cli.candidates import STATUSES

    assert set(COLORS) == set(STATUSES)


def test_a_file_of_regions_has_its_suffix(tmp_path):
    assert is_region_file("A.REG")
    assert not is_region_file("a.fits")
    with pytest.raises(UsageError, match=r"a file of regions must end in \.reg"):
        write_regions(tmp_path / "c.txt", candidates(), (0, 0), 5)


def test_a_file_that_exists_is_kept(tmp_path):
    (tmp_path / "c.reg").write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        write_regions(tmp_path / "c.reg", candidates(), (0, 0), 5)
    write_regions(tmp_path / "c.reg", candidates(), (0, 0), 5, overwrite=True)
    assert len(read_regions(tmp_path / "c.reg")) == 3
