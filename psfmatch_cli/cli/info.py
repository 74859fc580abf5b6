"""psfmatch info: what is understood of a file, and where each piece came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli import options
from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.cli.reading_options import reading

if TYPE_CHECKING:
    from psfmatch_cli.exposure import Exposure
    from psfmatch_cli.facts import Fact, FileFacts
    from psfmatch_cli.io import HeaderFacts
    from psfmatch_cli.survey import Surveyed

#: Quantities in the order of the list; those of the WCS are in one line of their own.
_ORDER = (
    "unit",
    "gain",
    "read_noise",
    "dark_variance",
    "saturation",
    "sky",
    "sky_noise",
    "predicted_noise",
    "fwhm",
    "measured_fwhm",
    "header_fwhm",
    "ellipticity",
    "stars",
    "filter",
    "date",
    "exposure_time",
    "zero_point",
)
#: Of these it is said that they are not known.
_EXPECTED = ("gain", "read_noise", "saturation", "fwhm", "filter", "date", "exposure_time", "zero_point", "unit")
_WIDTH = 16


@options.command("info", "psfmatch info science.fits")
@options.path_argument("exposure")
@options.option("--json", "as_json", is_flag=True, section="Output", help="Print all of it as JSON.")
@options.option("--quick", is_flag=True, section="Output", help="Only what the headers say: no pixel is read.")
@options.all_extensions
@reading("")
@options.max_memory
@options.reporting
def command(exposure: Path, as_json: bool, quick: bool, all_extensions: bool, **given: Any) -> int:
    """Say what is understood of EXPOSURE: planes, WCS, PSF, noise, saturation, sky, FWHM, stars.

    Each line ends with the card, HDU, option or measurement that the value came from. A file that this command reads
    without an error can be subtracted.
    """
    from psfmatch_cli.cli.console import reporting, say

    warnings: list[str] = []
    make = _header_report if quick else _full_report

    def show(report: Mapping[str, Any], end: str = "") -> None:
        if not (as_json or given["quiet"]):
            say("\n".join(map(one_line, lines(report))) + end)

    status = 0
    with reporting(given["verbose"], given["quiet"], warnings):
        if all_extensions:
            report, status = _report_all(exposure, given, make, show)
        else:
            report = make(exposure, given)
            show(report)
    if as_json:
        from psfmatch_cli.strict_json import to_json

        say(to_json({**report, "warnings": warnings}, indent=2))
    return status


def _report_all(
    path: Path, given: Mapping[str, Any], make: Callable[..., dict[str, Any]], show: Callable[..., None]
) -> tuple[dict[str, Any], int]:
    """The reports of all chips of a file, shown one after another, and the exit status."""
    from psfmatch_cli.cli.extension_loop import attempt, error_of_all, exit_status
    from psfmatch_cli.cli.extensions import find_extensions

    found = find_extensions({"exposure": path}, given)
    reports, errors = {}, {}
    for extension in found.chips:
        work = partial(make, extension.inputs["exposure"], extension.given)
        report, error = attempt(work, extension.label)
        if error is None:
            reports[extension.label] = report
            show(report, "" if extension is found.chips[-1] else "\n")
        else:
            errors[extension.label] = error
    if len(errors) == len(found.chips):
        raise error_of_all(errors)
    told = {label: " ".join(str(error).split()) for label, error in errors.items()}
    return {"file": str(path), "extensions": reports, "errors": told}, exit_status(errors.values())


def _header_report(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    from psfmatch_cli.cli.reading import read_options
    from psfmatch_cli.facts import Fact
    from psfmatch_cli.io import read_facts

    known: HeaderFacts = read_facts(path, read_options(given, ""))
    quantities = dict(known.facts.quantities)
    if known.psf is not None:
        quantities["fwhm"] = Fact(known.psf.fwhm, f"PSF, {known.psf.origin}", "pix")
    return _report(path, known.facts, known.shape, quantities)


def _full_report(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    from psfmatch_cli.cli.memory_check import check_memory
    from psfmatch_cli.cli.reading import read_options
    from psfmatch_cli.io import read_exposure
    from psfmatch_cli.survey import survey

    check_memory([path], given["max_memory"])
    exposure: Exposure = read_exposure(path, read_options(given, ""))
    surveyed: Surveyed = survey(exposure)
    stated = {name: fact for name, fact in exposure.facts.quantities.items() if name != "fwhm"}
    report = _report(path, exposure.facts, exposure.shape, {**stated, **surveyed.quantities})
    planes = {"variance": f"made: {_law(exposure)}", **report["planes"]}
    table = surveyed.fwhm_map
    return {
        **report,
        "planes": planes,
        "masked": surveyed.masked,
        "noise": {name: source for name, source in exposure.noise.sources.items() if name != "saturation"},
        "fwhm_map": [] if table is None else [_cell(row) for row in table],
    }


def _report(path: Path, facts: FileFacts, shape: tuple[int, int], quantities: Mapping[str, Fact]) -> dict[str, Any]:
    from psfmatch_cli.instruments import LAYOUTS

    return {
        "file": str(path),
        "layout": facts.layout,
        "layout_described": LAYOUTS[facts.layout].described,
        "width": shape[1],
        "height": shape[0],
        "planes": dict(facts.planes),
        "quantities": {
            name: {"value": fact.value, "unit": fact.unit, "source": fact.source} for name, fact in quantities.items()
        },
    }


def _law(exposure: Exposure) -> str:
    """What a variance was made of that no file gave."""
    noise = exposure.noise
    if noise.origin == "gain":
        return f"gain {noise.gain:.4g} e-/count ({noise.sources['gain']})"
    return noise.sources.get("variance", noise.origin)


def _cell(row: Any) -> dict[str, Any]:
    """One cell of the map; numbers that are not known are null."""
    values = {name: row[name].item() for name in row.colnames}
    return {name: None if value != value else value for name, value in values.items()}


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report as a list for people."""
    quantities = report["quantities"]
    yield _line("file", report["file"])
    yield _line("layout", f"{report['layout']} ({report['layout_described']})")
    yield _line("size", f"{report['width']} x {report['height']} pixels")
    for name in ("image", "mask", "variance", "coverage", "psf"):
        if name in report["planes"] or name in ("mask", "psf"):
            yield _line(name, report["planes"].get(name, "none"))
    if "masked" in report:
        counts = (f"{name} {n}" for name, n in report["masked"].items())
        yield _line("masked pixels", ", ".join(counts) or "none")
    yield _line("wcs", _sky(quantities) if "pixel_scale" in quantities else "none")
    for name in _ORDER:
        if name in quantities:
            yield _line(name.replace("_", " "), _told(quantities[name]), quantities[name]["source"])
        elif name in _EXPECTED:
            yield _line(name.replace("_", " "), "unknown")
    yield from _map_lines(report.get("fwhm_map", []))


def _line(name: str, value: str, source: str = "") -> str:
    return f"{name:<{_WIDTH}}{value}" + (f"  [{source}]" if source else "")


def _told(entry: Mapping[str, Any]) -> str:
    value = entry["value"]
    if value != value:
        return "not measured"
    number = value if isinstance(value, str) else f"{value:.6g}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{number} {entry['unit']}".strip()


def _sky(quantities: Mapping[str, Any]) -> str:
    value = {name: quantities[name]["value"] for name in ("pixel_scale", "rotation", "ra", "dec")}
    projection = quantities["pixel_scale"]["source"].removeprefix("WCS (").removesuffix(")")
    rotation = round(value["rotation"], 2) + 0.0  # no -0.00
    mirrored = ", mirrored" if "mirrored" in quantities["rotation"]["source"] else ""
    return (
        f"{projection}, {value['pixel_scale']:.4g} arcsec/pixel, rotated by {rotation:.2f} deg{mirrored}, "
        f"centre at RA {value['ra']:.5f}, Dec {value['dec']:.5f} deg"
    )


def _map_lines(cells: list[dict[str, Any]]) -> Iterator[str]:
    """Median FWHMs of the cells as they lie on the sky of the image, the top row first."""
    if len(cells) < 2:
        return
    rows: dict[float, list[str]] = {}
    for cell in cells:
        rows.setdefault(cell["y"], []).append("   -" if cell["fwhm"] is None else f"{cell['fwhm']:.2f}")
    for n, y in enumerate(sorted(rows, reverse=True)):
        yield _line("fwhm map" if n == 0 else "", " ".join(rows[y]), "" if n else "stars in cells, pix, top row first")
