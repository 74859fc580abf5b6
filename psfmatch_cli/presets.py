"""Presets: the settings that make the method that of a version of the upstream task.

What upstream has a setting for is taken from its table; what it has none for is listed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psfmatch_cli.errors import UsageError
from psfmatch_cli.upstream import ABSENT, SAME, UPSTREAM, VERSIONS, UpstreamField

#: Names of the presets; the first is that of no preset.
PRESETS = ("default", *VERSIONS)


@dataclass(frozen=True)
class OwnSetting:
    """A setting that upstream does not have, and the value that makes the method upstream's.

    Parameters
    ----------
    note : str
        What upstream does instead.
    v23, head : Any
        None: no preset sets it.
    """

    note: str
    v23: Any = None
    head: Any = SAME

    def default(self, version: str) -> Any:
        """The value for a version."""
        return self.v23 if version == "v23" or self.head is SAME else self.head


#: Settings of the search of a difference.
DIFFERENCE_SOURCES = (
    "threshold",
    "polarity",
    "aperture_radius",
    "dipole_chi2",
    "dipole_ratio",
    "dipole_separation",
)
_BIN_WEIGHT = OwnSetting("upstream weights by the standard error", "error")

#: Settings of the verdict on a difference.
_QUALITY = (
    "level",
    "min_stars",
    "sky_width_doubtful",
    "sky_width_bad",
    "star_residual_doubtful",
    "star_residual_bad",
    "cell_residual_doubtful",
    "cell_residual_bad",
    "spoiled_doubtful",
    "spoiled_bad",
    "flux_residual_doubtful",
    "flux_residual_bad",
    "ratio_mean_bad",
    "ratio_std_bad",
    "sky_mean_doubtful",
    "sky_mean_bad",
    "kernel_range_doubtful",
    "kernel_range_bad",
    "kernel_scatter_doubtful",
    "kernel_shift_doubtful",
    "autocorrelation_doubtful",
    "calibration_doubtful",
    "masked_doubtful",
    "masked_bad",
    "sources_doubtful",
    "sources_bad",
)

#: Settings that upstream has no field for in every version, by key.
OWN: dict[str, OwnSetting] = {
    "threads": OwnSetting("does not change the result"),
    "adapt": OwnSetting("upstream fails where it has no candidates, and keeps its orders", False),
    "strict": OwnSetting("upstream only warns", False),
    "allow_identical": OwnSetting("refuses copies of one image; changes no result of two exposures"),
    "detection.deblend": OwnSetting("a footprint is one source upstream", False),
    "detection.deblend_contrast": OwnSetting("used with deblend"),
    "detection.deblend_thresholds": OwnSetting("used with deblend"),
    "detection.background.weight_by": _BIN_WEIGHT,
    "detection.temp_local_background.weight_by": _BIN_WEIGHT,
    "detection.temp_wide_background.weight_by": _BIN_WEIGHT,
    "warp.max_lost_weight": OwnSetting("upstream, a NaN makes every pixel NaN whose kernel it touches", 0.0),
    "warp.registration": OwnSetting("upstream goes by the WCS alone", "wcs"),
    "warp.registration_tolerance": OwnSetting("upstream compares the grids exactly"),
    "candidates.mask_policy": OwnSetting("upstream, any bad pixel in its stamp disqualifies a candidate", "reject"),
    "candidates.core_radius": OwnSetting("used with mask_policy exclude"),
    "candidates.min_snr": OwnSetting("upstream asked for none in v23, today it wants 10 to 500", 0.0, 10.0),
    "candidates.finder": OwnSetting("footprints is the finder of upstream's older versions", "sources"),
    "kernel.richer_deg_gauss": OwnSetting("upstream tries one basis", ()),
    "kernel.wing_gaussian": OwnSetting("upstream has no such Gaussian", False),
    "kernel.alard_sigma_rule": OwnSetting("each version has its own rule", "v23", "head"),
    "kernel.kernel_size_per_fwhm": OwnSetting("upstream's size follows from the Gaussians alone", 0.0),
    "kernel.spatial_regularization": OwnSetting("upstream regularises the candidates' fits alone", False),
    "kernel.refine_background": OwnSetting("upstream takes the background from the candidates", False),
    "kernel.correct_noise_bias": OwnSetting("upstream leaves the noise in the normal equations", False),
    "kernel.max_candidates": OwnSetting("upstream had no limit in v23", 1_000_000),
    "kernel.kernel_sum_errors": OwnSetting("upstream clips by the scatter of the sums alone", False),
    "subtraction.normalize": OwnSetting("upstream's difference is in science counts", "science"),
    "subtraction.scale_variance": OwnSetting("upstream did not in v23", False),
    "subtraction.decorrelate": OwnSetting("upstream has a task of its own for it", False, True),
    **{
        f"difference_sources.{name}": OwnSetting("upstream finds and measures the sources in tasks of their own")
        for name in DIFFERENCE_SOURCES
    },
    **{f"quality.{name}": OwnSetting("does not change the difference") for name in _QUALITY},
}


def preset_values(name: str) -> dict[str, Any]:
    """Value of every setting that a preset sets, by key; none for ``default``.

    A field that the version has decides first; then what stands for the method of a version without a field;
    then the fields that the version has lost. Of the two sets of upstream, that for alard-lupton comes first.

    Raises
    ------
    UsageError
        If there is no such preset.
    """
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}; known are {', '.join(PRESETS)}")
    if name not in VERSIONS:
        return {}
    fields = [field for field in UPSTREAM if field.key is not None]
    present = {field: field.default(name) is not ABSENT for field in fields}
    values: dict[str, Any] = {}
    for field in fields:
        if present[field]:
            values.setdefault(field.key, in_our_terms(field, name))
    for key, own in OWN.items():
        if own.default(name) is not None:
            values.setdefault(key, own.default(name))
    for field in fields:
        if not present[field] and field.v23 is not ABSENT:
            values.setdefault(field.key, in_our_terms(field, "v23"))
    return values


def in_our_terms(field: UpstreamField, version: str) -> Any:
    """Upstream's default as a value of the setting here."""
    return field.default(version) if field.here is SAME else field.here
