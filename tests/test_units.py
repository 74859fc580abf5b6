import pytest

from psfmatch_cli.units import Unit, parse_unit


@pytest.mark.parametrize(
    ("text", "kind", "per_second", "scale"),
    [
        ("ELECTRONS", "electrons", False, 1.0),
        ("electrons/s ", "electrons", True, 1.0),
        ("E-/SEC", "electrons", True, 1.0),
        ("adu", "counts", False, 1.0),
        ("DN/s", "counts", True, 1.0),
        ("count s-1", "counts", True, 1.0),
        ("MJy/sr", "surface brightness", False, 1.0),
        ("Jy/sr", "surface brightness", False, 1e-6),
        ("mJy", "flux", False, 1e-3),
        ("Jy", "flux", False, 1.0),
        ("nJy", "flux", False, 1e-9),
        ("nanomaggy", "flux", False, 3.631e-6),
        ("furlong/s", "unknown", False, 1.0),
        ("", "unknown", False, 1.0),
        (None, "unknown", False, 1.0),
    ],
)
def test_kinds_of_units(text, kind, per_second, scale):
    assert parse_unit(text) == Unit((text or "").strip(), kind, per_second, scale)
