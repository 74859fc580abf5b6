"""The page on layouts says what the code does: every layout, flag and card, and none that there is not."""

import re

from doc_pages import GUIDE, code, rows, sections
from psfmatch_cli import quality_flags as flags
from psfmatch_cli.instruments import LAYOUTS
from psfmatch_cli.keywords import QUANTITIES

PAGE = "\n".join(sections(GUIDE / "reference" / "layouts.rst").values())


def test_every_layout_has_a_row_in_the_order_of_the_search():
    found = rows(PAGE, "Layouts, in the order in which they are tried")
    assert [code(row[0])[0] for row in found] == list(LAYOUTS)


def numbers(cell):
    """Whole numbers of a cell such as "29, 30" or "14 to 16"."""
    ends = [int(n) for n in re.findall(r"\d+", cell)]
    return range(ends[0], ends[-1] + 1) if " to " in cell else ends


def planes(table, values):
    return [table.planes.get(value) or "no harm" for value in values]


def check(caption, tables, value_of):
    """Every row of a table of the page against the tables of the code, and no value left out."""
    seen = set()
    for row in rows(PAGE, caption):
        values = [value_of(number) for number in numbers(row[0])]
        seen |= set(values)
        for table, cell in zip(tables, row[1:], strict=True):
            assert planes(table, values) == [cell] * len(values), (table.name, row)
    assert seen == {value for table in tables for value in table.planes}


def test_flags():
    check("Bits of HST", (flags.ACS, flags.WFC3_UVIS, flags.WFC3_IR, flags.WFPC2), int)
    check("Bits of the others", (flags.JWST, flags.ZTF, flags.PANSTARRS, flags.DECAM_OLD), lambda bit: 1 << bit)
    check("Codes of DECam since version 3.5.0", (flags.DECAM,), int)


def test_cards():
    found = {code(row[0])[0]: tuple(code(row[1])) for row in rows(PAGE, "Cards of quantities")}
    assert found == {name: (*quantity.cards, *quantity.amplifiers) for name, quantity in QUANTITIES.items()}
