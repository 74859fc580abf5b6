"""Every option that commands share, once: one name, one meaning, one help text.

A function here is a decorator, or makes one for a role. Defaults that are settings stay unset when an option is
not given, so that a settings file decides; the help names the setting's own default.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from psfmatch_cli.presets import PRESETS
from psfmatch_cli.widths import FWHM_LIMITS, FWHM_RANGE, SIGMA_PER_FWHM, is_width

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

#: Setting that an option stands for.
SETTING_OF = {
    "sigma": "detection.threshold_value",
    "kernel_size": "kernel.kernel_size",
    "kernel_order": "kernel.spatial_kernel_order",
    "background_order": "kernel.spatial_bg_order",
    "fit_background": "kernel.fit_for_background",
    "bad_planes": "candidates.bad_mask_planes",
    "normalize": "subtraction.normalize",
    "decorrelate": "subtraction.decorrelate",
    "adapt": "adapt",
    "strict": "strict",
    "allow_identical": "allow_identical",
    "mask_policy": "candidates.mask_policy",
    "register": "warp.registration",
    "density": "fakes.density",
    "on_galaxies": "fakes.on_galaxies",
    "seed": "fakes.seed",
    "quality": "quality.level",
    "threads": "threads",
}


class Width(click.ParamType):
    """Width of a PSF in pixels.

    Parameters
    ----------
    per_fwhm : float
        The width over the FWHM.
    """

    name = "width"

    def __init__(self, per_fwhm: float = 1.0):
        self.per_fwhm = per_fwhm

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = click.FLOAT.convert(value, param, ctx)
        if not is_width(number / self.per_fwhm):
            low, high = (f"{self.per_fwhm * limit:.3g}" for limit in FWHM_LIMITS)
            self.fail(f"{value} is not from {low} to {high} pixels, the widths that a PSF can have", param, ctx)
        return number


class SectionedOption(click.Option):
    """An option with the section of the help that it stands in."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """Shows its options by section, in the order in which the sections first appear."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):
                sections.setdefault(getattr(param, "section", "General"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def command(name: str, example: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A command whose help ends with a line that runs."""
    return click.command(name, cls=SectionedCommand, epilog=f"\b\nExample:\n  {example}")


def chain(*decorators: Decorator) -> Decorator:
    """One decorator that applies several; their options appear in the help in this order."""

    def decorate(function: Command) -> Command:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def option(*names: str, section: str, **attributes: Any) -> Decorator:
    """A `SectionedOption` as a decorator."""
    return click.option(*names, cls=SectionedOption, section=section, **attributes)


def setting_option(*names: str, **attributes: Any) -> Decorator:
    """An option that stands for a setting, see `SETTING_OF`; without it a settings file decides."""
    return option(*names, is_eager=True, default=None, **attributes)


def path_argument(name: str) -> Decorator:
    """An input file given by its place on the command line."""
    return click.argument(name, type=click.Path(path_type=Path))


def output(what: str) -> Decorator:
    """-o and --overwrite."""
    return chain(
        option(
            "-o",
            "--output",
            required=True,
            type=click.Path(path_type=Path),
            section="Output",
            metavar="FILE",
            help=f"{what} to write.",
        ),
        option("--overwrite", is_flag=True, section="Output", help="Replace output files that exist."),
    )


def product(name: str, what: str, default: str) -> Decorator:
    """A further output file: --name FILE, or 'none' for no such file; --no-name says the same."""
    return chain(
        option(
            f"--{name}",
            section="Output",
            metavar="FILE|none",
            help=f"{what}; --no-{name} for none. [default: {default}]",
        ),
        option(f"--no-{name}", f"no_{name.replace('-', '_')}", is_flag=True, section="Output", hidden=True),
    )


summary = chain(
    option("--json", "as_json", is_flag=True, section="Output", help="Print the summary as JSON instead of one line."),
    option("--metadata-flat", is_flag=True, section="Output", help="Print the record of the run, one item a line."),
)

all_extensions = option(
    "--all-extensions",
    is_flag=True,
    section="Input",
    help="Work on all chips of the files, matched by EXTNAME, else by a card such as CCDNUM, else by order. Each "
    "output holds all of them. A chip that fails is reported and left out; the exit status is then 1 (it cannot be "
    "used) or 3 (no candidates or no solution).",
)


def _columns_of_sources(section: str) -> Decorator:
    """How the positions of the table of --sources are read."""
    return chain(
        option(
            "--sources-columns",
            section=section,
            metavar="X,Y",
            help="The two columns of --sources with the positions. [default: found by their names]",
        ),
        option(
            "--sources-origin",
            type=click.Choice(["0", "1"]),
            section=section,
            help="Number of the first pixel in pixel columns of --sources. "
            "[default: 0; 1 for FITS names such as X_IMAGE]",
        ),
    )


sources = chain(
    option(
        "--sources",
        section="Matching",
        metavar="FILE",
        help="Sources to take candidates from: a table (.fits, .ecsv, .csv) or DS9 regions (.reg). Sky positions "
        "(ra, dec; ALPHA_J2000, DELTA_J2000; coord_ra, coord_dec; ...) go through the science WCS; without them, or "
        "without that, pixels are used (x, y from 0; X_IMAGE, Y_IMAGE from 1; ...). The record says which. Of a table "
        "made by psfmatch candidates, those that were not refused. [default: detected on the science exposure]",
    ),
    _columns_of_sources("Matching"),
)

positions = chain(
    option(
        "--at",
        multiple=True,
        section="Positions",
        metavar="RA,DEC",
        help="A position on the sky: degrees, or hours and degrees such as 10:00:28.0,+02:12:21; repeatable. "
        "[default: none]",
    ),
    option(
        "--at-pixel",
        multiple=True,
        section="Positions",
        metavar="X,Y",
        help="A position on the pixels, from 0; repeatable. The same pixels in all images. [default: none]",
    ),
    option(
        "--sources",
        section="Positions",
        metavar="FILE",
        help="Positions of a table (.fits, .ecsv, .csv) or of DS9 regions (.reg), read as those of subtract --sources. "
        "[default: none]",
    ),
    _columns_of_sources("Positions"),
)

sigma = setting_option(
    "--sigma", type=float, section="Detection", metavar="NUMBER", help="Detection threshold. [default: 10, in sigma]"
)

smoothing = chain(
    option(
        "--psf-fwhm",
        type=Width(),
        section="Detection",
        metavar="PIXELS",
        help=f"FWHM of the Gaussian to smooth with, {FWHM_RANGE}. [default: from the PSF, else measured on stars]",
    ),
    option(
        "--psf-sigma",
        type=Width(SIGMA_PER_FWHM),
        section="Detection",
        metavar="PIXELS",
        help="Its sigma, instead of --psf-fwhm.",
    ),
    option(
        "--smooth/--no-smooth", default=True, section="Detection", help="Smooth before detection. [default: smooth]"
    ),
)

direction = chain(
    option(
        "--convolve",
        type=click.Choice(["auto", "template", "science"]),
        default="auto",
        section="Matching",
        help="The exposure to convolve. [default: auto, the sharper one]",
    ),
    option(
        "--warp/--no-warp",
        default=True,
        section="Matching",
        help="Resample the template where it is not on the science grid, or refuse. [default: warp]",
    ),
)

registration = setting_option(
    "--register",
    type=click.Choice(["auto", "wcs", "stars", "asterisms", "none"]),
    section="Matching",
    help="What aligns the template: its WCS; the WCS corrected by the stars of both images; asterisms of stars, "
    "without any WCS; or none, equal pixels. [default: auto, the WCS, corrected where the stars clearly contradict it]",
)

kernel_size = setting_option(
    "--kernel-size", section="Matching", metavar="PIXELS", help="Side of the kernel, odd. [default: from the FWHMs]"
)

bad_planes = setting_option(
    "--bad-planes",
    section="Matching",
    metavar="NAME,...",
    help="Mask planes that disqualify a candidate. [default: NO_DATA,EDGE,SAT,BAD,CR]",
)

mask_policy = setting_option(
    "--mask-policy",
    type=click.Choice(["exclude", "reject"]),
    section="Matching",
    help="Bad pixels in a candidate's stamp that are not near its core: leave them out of the fit, or refuse the "
    "candidate. [default: exclude]",
)

regions = product("regions", "DS9 regions (.reg) of all sources, coloured by their fate", "none")

kernel = chain(
    setting_option(
        "--kernel-order",
        section="Matching",
        metavar="auto|N",
        help="Order of the kernel's change over the image. [default: auto, from the candidates]",
    ),
    setting_option(
        "--background-order",
        section="Matching",
        metavar="auto|N",
        help="Order of the differential background. [default: auto, from the candidates]",
    ),
    setting_option(
        "--fit-background/--no-fit-background",
        section="Matching",
        help="Fit a differential background with the kernel. [default: fit]",
    ),
)

normalize = setting_option(
    "--normalize",
    type=click.Choice(["science", "template"]),
    section="Matching",
    help="The exposure whose photometric scale the difference has: its counts, zero point and unit. [default: science]",
)

decorrelate = setting_option(
    "--decorrelate/--no-decorrelate",
    section="Matching",
    help="Filter the difference so that its noise is white: pixels and the sums over them are as noisy as its variance "
    "says. [default: no-decorrelate]",
)

adapt = setting_option(
    "--adapt/--no-adapt",
    section="Matching",
    help="Where candidates are few, search deeper, then lower the spatial order, and say so; or leave it. "
    "[default: adapt]",
)

strict = setting_option(
    "--strict/--no-strict",
    section="Matching",
    help="End with exit status 3 where the fit is underconstrained or badly conditioned, or warn. [default: no-strict]",
)

quality = chain(
    setting_option(
        "--quality",
        type=click.Choice(["fast", "full"]),
        section="Output",
        help="What the verdict on the difference (good, doubtful, bad) rests on: samples of sky and stars, or also a "
        "count of the difference's sources. [default: fast]",
    ),
    option(
        "--fail-on-quality",
        is_flag=True,
        section="Output",
        help="End with exit status 4 where the difference is bad; all files are written and say so.",
    ),
)

allow_identical = setting_option(
    "--allow-identical/--no-allow-identical",
    section="Matching",
    help="Go on with two copies of one image, whose difference means nothing, or refuse. [default: no-allow-identical]",
)

debugging = chain(
    option("--debug", is_flag=True, expose_value=False, section="General", help="Show the traceback of an error."),
    click.help_option("-h", "--help"),
)

reporting = chain(
    option("-v", "--verbose", count=True, section="General", help="Tell each stage on stderr; -vv tells more."),
    option("-q", "--quiet", count=True, section="General", help="Only errors on stderr, nothing on stdout."),
    debugging,
)


def _dump(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print the settings and end; the options that stand for settings are eager, so they are known here."""
    if value:
        from psfmatch_cli.cli.console import say
        from psfmatch_cli.cli.run import settings_of
        from psfmatch_cli.settings import to_toml

        say(to_toml(settings_of(ctx.params).settings), nl=False)
        ctx.exit()


settings = chain(
    option(
        "--config",
        type=click.Path(path_type=Path),
        is_eager=True,
        section="General",
        metavar="FILE.toml",
        help="Settings file. [default: that of the environment variable PSFMATCH_CONFIG, if any]",
    ),
    option(
        "--preset",
        type=click.Choice(PRESETS),
        is_eager=True,
        section="General",
        help="Settings to start from: those of upstream in spring 2023 or today, instead of the defaults. "
        "[default: that of PSFMATCH_PRESET or the settings file, else default]",
    ),
    option(
        "-c",
        "assignments",
        multiple=True,
        is_eager=True,
        section="General",
        metavar="KEY=VALUE",
        help="One setting, such as detection.min_pixels=5; repeatable, the last wins; wins over file and environment. "
        "[default: none]",
    ),
)

max_memory = option(
    "--max-memory",
    section="General",
    metavar="SIZE",
    help="Most memory that the run may need, such as 8GB or 512MiB; one that may need more ends before it starts. "
    "[default: what the machine and the limits of the process leave]",
)

common = chain(
    settings,
    option(
        "--dump-config",
        is_flag=True,
        expose_value=False,
        callback=_dump,
        section="General",
        help="Print all settings as they would be used, as a settings file, and end.",
    ),
    setting_option(
        "--threads",
        type=int,
        section="General",
        metavar="N",
        help="Threads at most; no other result comes of it. [default: the cores]",
    ),
    max_memory,
    option("--no-host", is_flag=True, section="General", help="Leave the computer's name out of the metadata."),
    reporting,
)

metadata = product(
    "metadata", "JSON file with the record of the run, also of one that fails", "OUTPUT_metadata.json beside it"
)
