"""The settings of the upstream task: their defaults, and which setting here each of them is. Data only.

Two versions are told apart: ``v23``, of spring 2023, the last with an image-to-image matching task, and ``head``,
that of today. A setting has its upstream name in Python's spelling here, unless the table says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: Names of the versions.
VERSIONS = ("v23", "head")


class _Mark:
    """A value that is no value."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name


#: The version has no such setting.
ABSENT = _Mark("absent")
#: As in the other version, or as upstream writes it.
SAME = _Mark("same")


@dataclass(frozen=True)
class UpstreamField:
    """A setting of the upstream task.

    Parameters
    ----------
    name : str
        Its path; AL and DF are the settings for either kind of basis.
    key : str or None
        The setting here; None if there is none.
    v23, head : Any
        Defaults as upstream writes them; `ABSENT` where the version has no such setting.
    here : Any
        What the default is in terms of the setting here, where that differs from how upstream writes it.
    note : str
        Why there is no counterpart, or why the default here is another.
    """

    name: str
    key: str | None
    v23: Any
    head: Any = SAME
    here: Any = SAME
    note: str = ""

    def default(self, version: str) -> Any:
        """Default of a version as upstream writes it; `ABSENT` if there is none."""
        return self.v23 if version == "v23" or self.head is SAME else self.head


#: Defaults of v23 that AL and DF have in common.
_COMMON = {
    "useAfwBackground": False,
    "fitForBackground": False,
    "kernelBasisSet": "alard-lupton",
    "kernelSize": 21,
    "scaleByFwhm": True,
    "kernelSizeFwhmScaling": 6.0,
    "kernelSizeMin": 21,
    "kernelSizeMax": 35,
    "spatialModelType": "chebyshev1",
    "spatialKernelOrder": 2,
    "spatialBgOrder": 1,
    "sizeCellX": 128,
    "sizeCellY": 128,
    "nStarPerCell": 3,
    "maxSpatialIterations": 3,
    "usePcaForSpatialKernel": False,
    "subtractMeanForPca": True,
    "numPrincipalComponents": 5,
    "singleKernelClipping": True,
    "kernelSumClipping": True,
    "spatialKernelClipping": True,
    "checkConditionNumber": False,
    "badMaskPlanes": ("NO_DATA", "EDGE", "SAT"),
    "candidateResidualMeanMax": 0.25,
    "candidateResidualStdMax": 1.5,
    "useCoreStats": False,
    "candidateCoreRadius": 3,
    "maxKsumSigma": 3.0,
    "maxConditionNumber": 5e7,
    "conditionNumberType": "EIGENVALUE",
    "maxSpatialConditionNumber": 1e10,
    "iterateSingleKernel": False,
    "constantVarianceWeighting": True,
    "calculateKernelUncertainty": False,
    "useBicForKernelBasis": False,
}
_ALARD_LUPTON = {
    "alardNGauss": 3,
    "alardDegGauss": (4, 2, 2),
    "alardSigGauss": (0.7, 1.5, 3.0),
    "alardGaussBeta": 2.0,
    "alardMinSig": 0.7,
    "alardDegGaussDeconv": 3,
    "alardMinSigDeconv": 0.4,
    "alardNGaussDeconv": 3,
}
_DELTA_FUNCTION = {
    "kernelBasisSet": "delta-function",
    "usePcaForSpatialKernel": True,
    "maxConditionNumber": 5e6,
    "useRegularization": True,
    "regularizationType": "centralDifference",
    "centralRegularizationStencil": 9,
    "forwardRegularizationOrders": (1, 2),
    "regularizationBorderPenalty": 3.0,
    "lambdaType": "absolute",
    "lambdaValue": 0.2,
    "lambdaScaling": 1e-4,
    "lambdaStepType": "log",
    "lambdaMin": -1.0,
    "lambdaMax": 2.0,
    "lambdaStep": 0.1,
}
_WARPING = {
    "warpingKernelName": "lanczos3",
    "maskWarpingKernelName": "bilinear",
    "interpLength": 10,
    "growFullMask": "EDGE",
}
_CANDIDATES = {
    "detThreshold": 10.0,
    "detThresholdType": "pixel_stdev",
    "detOnTemplate": True,
    "badMaskPlanes": ("NO_DATA", "EDGE", "SAT"),
    "fpNpixMin": 5,
    "fpNpixMax": 500,
    "fpGrowKernelScaling": 1.0,
    "fpGrowPix": 30,
    "scaleByFwhm": True,
}
_BACKGROUND = {
    "statisticsProperty": "MEANCLIP",
    "undersampleStyle": "REDUCE_INTERP_ORDER",
    "binSize": 128,
    "binSizeX": 0,
    "binSizeY": 0,
    "algorithm": "AKIMA_SPLINE",
    "ignoredPixelMask": ("BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA"),
    "isNanSafe": False,
    "useApprox": True,
    "approxOrderX": 6,
    "approxOrderY": -1,
    "weighting": True,
}
_TEMP_LOCAL = {"binSize": 64, "useApprox": False}
_TEMP_WIDE = {"binSize": 512, "useApprox": False, "ignoredPixelMask": ("BAD", "EDGE", "NO_DATA")}
_DETECTION = {
    "thresholdValue": 10.0,
    "reEstimateBackground": False,
    "thresholdType": "stdev",
    "thresholdPolarity": "positive",
    "includeThresholdMultiplier": 1.0,
    "minPixels": 1,
    "isotropicGrow": False,
    "combinedGrow": True,
    "nSigmaToGrow": 2.4,
    "returnOriginalFootprints": False,
    "nSigmaForKernel": 7.0,
    "doTempLocalBackground": True,
    "doTempWideBackground": False,
    "nPeaksMaxSimple": 1,
    "statsMask": ("BAD", "SAT", "EDGE", "NO_DATA"),
    "excludeMaskPlanes": ("EDGE",),
    "adjustBackground": 0.0,
}

#: Defaults of head that differ, by our key.
_HEAD = {
    "kernel.fit_for_background": True,
    "kernel.spatial_kernel_order": 1,
    "kernel.spatial_bg_order": 2,
    "kernel.n_star_per_cell": 5,
    "detection.threshold_type": "pixel_stdev",
    "detection.isotropic_grow": True,
}
#: Defaults in our terms where upstream writes them otherwise, by our key. None: absent, so that our rule decides.
_HERE = {
    "kernel.kernel_size": None,
    "kernel.use_pca_for_spatial_kernel": None,
    "kernel.max_condition_number": None,
    "warp.grow_full_mask": ("EDGE",),
}
#: Why our default is another, by our key.
_NOTES = {
    "kernel.kernel_size": "a number is always kept here; none: the size follows from the widths, as upstream's does "
    "where scaleByFwhm is on, or is 21 (delta-function)",
    "kernel.fit_for_background": "each candidate has its own constant, so the sky levels do not bias the kernel",
    "kernel.spatial_kernel_order": "none: candidates that are left out of the fit choose it",
    "kernel.spatial_bg_order": "none: it follows from the data",
    "kernel.n_star_per_cell": "as upstream today",
    "kernel.max_spatial_condition_number": "larger bases reach 1e11 on sound pairs",
    "kernel.alard_n_gauss": "none: as many as there are degrees",
    "kernel.bad_mask_planes": "none: the planes that disqualify a candidate",
    "warp.interp_length": "positions in between are cubic here, linear upstream",
    "candidates.fp_grow_kernel_scaling": "none: 1, as upstream, or 1.5 with delta functions",
    "candidates.bad_mask_planes": "upstream lets BAD and CR pixels into the fit",
    "detection.background.is_nan_safe": "a single NaN pixel does not cost its bin",
    "detection.temp_local_background.is_nan_safe": "a single NaN pixel does not cost its bin",
    "detection.temp_wide_background.is_nan_safe": "a single NaN pixel does not cost its bin",
    "detection.do_temp_local_background": "on fields of stars it changes next to nothing",
    "detection.threshold_type": "auto: pixel_stdev, as upstream today, or stdev where the variance is not known",
    "detection.exclude_mask_planes": "where there are no data, nothing is searched",
}


def _group(name: str, ours: str, defaults: Mapping[str, Any], head: Any = SAME) -> list[UpstreamField]:
    """The fields of a group that have a counterpart in ours."""
    made = []
    for field, default in defaults.items():
        key = f"{ours}.{re.sub('[A-Z]', lambda letter: '_' + letter[0].lower(), field)}"
        made.append(
            UpstreamField(
                f"{name}.{field}",
                key,
                default,
                _HEAD.get(key, SAME) if head is SAME else head,
                _HERE.get(key, SAME),
                _NOTES.get(key, ""),
            )
        )
    return made


def _without(note: str, fields: Iterable[tuple[str, Any, Any]]) -> list[UpstreamField]:
    """Fields that have no counterpart, all for one reason: name, default of v23, default of head."""
    return [UpstreamField(name, None, v23, head, note=note) for name, v23, head in fields]


_MEASURED = "SdssCentroid, PsfFlux, PixelFlags, SdssShape, GaussianFlux, SkyCoord"
_DECORRELATED_PLANES = ("INTRP", "EDGE", "DETECTED", "SAT", "CR", "BAD", "NO_DATA", "DETECTED_NEGATIVE")

#: All settings of the upstream task, in the order of its configuration.
UPSTREAM: tuple[UpstreamField, ...] = (
    UpstreamField(
        "kernel", "kernel.kernel_basis_set", "AL", here="alard-lupton", note="AL: alard-lupton, DF: delta-function"
    ),
    *_without("its settings are those of the group warp", [("warpingConfig", "a group", SAME)]),
    *_without("its settings are in the group candidates", [("detectionConfig", "a group", ABSENT)]),
    *_without("its settings are those of detection.background", [("afwBackgroundConfig", "a group", SAME)]),
    *_group("AL", "kernel", _COMMON | _ALARD_LUPTON),
    *_group("DF", "kernel", _COMMON | _DELTA_FUNCTION),
    *_group("warpingConfig", "warp", _WARPING),
    *_without(
        "the Lanczos weights are evaluated as polynomials, there is nothing to cache",
        [("warpingConfig.cacheSize", 1000000, SAME)],
    ),
    *_group("detectionConfig", "candidates", _CANDIDATES, ABSENT),
    *_group("afwBackgroundConfig", "detection.background", _BACKGROUND),
    *_group("selectDetection", "detection", _DETECTION),
    *_group("selectDetection.tempLocalBackground", "detection.temp_local_background", _BACKGROUND | _TEMP_LOCAL),
    *_group("selectDetection.tempWideBackground", "detection.temp_wide_background", _BACKGROUND | _TEMP_WIDE),
    *_without(
        "all that the matching needs is always measured",
        [("selectMeasurement.plugins", _MEASURED, f"{_MEASURED}, ClassificationSizeExtendedness")],
    ),
    *_without("the columns of the source table have fixed names", [("selectMeasurement.slots", "none", SAME)]),
    *_without(
        "the difference is not whitened here",
        [
            ("decorrelate.ignoreMaskPlanes", _DECORRELATED_PLANES, SAME),
            ("decorrelate.completeVarPlanePropagation", False, SAME),
            *((f"decorrelate.cellSize{axis}", 41.0, SAME) for axis in "XY"),
            *((f"decorrelate.gridStep{axis}", 40.0, SAME) for axis in "XY"),
            *((f"decorrelate.borderSize{axis}", 8.0, SAME) for axis in "XY"),
            ("decorrelate.reduceOperation", "average", SAME),
            ("subtract.doDecorrelation", ABSENT, True),
        ],
    ),
    *_without(
        "each image has one FWHM: that of its PSF, or of its stars",
        [("makeKernel.fwhmExposureGrid", ABSENT, 10), ("makeKernel.fwhmExposureBuffer", ABSENT, 0.05)],
    ),
    *_without(
        "the option --convolve (convolve_template in Python) says which image is convolved, by default the sharper one",
        [("subtract.mode", ABSENT, "convolveTemplate")],
    ),
    *_without(
        "a background that is fitted is subtracted; kernel.fit_for_background decides whether it is fitted",
        [("subtract.doSubtractBackground", ABSENT, False)],
    ),
    UpstreamField(
        "subtract.doScaleVariance",
        "subtraction.scale_variance",
        ABSENT,
        True,
        note="upstream today scales the variances of both inputs, here that of the difference is scaled",
    ),
    *_without(
        "exposures without overlap are an error, any other overlap is in the record of the run",
        [
            ("subtract.requiredTemplateFraction", ABSENT, 0.1),
            ("subtract.minTemplateFractionForExpectedSuccess", ABSENT, 0.2),
        ],
    ),
    UpstreamField("subtract.maxKernelSources", "kernel.max_candidates", ABSENT, 1000),
    *_without(
        "fewer than three candidates in the fit are a warning; without any, the exit status is 3",
        [("subtract.minKernelSources", ABSENT, 3)],
    ),
    *_without(
        "stamps at the border are cut so that the star stays central, and refused where too few pixels are left",
        [("subtract.restrictKernelEdgeSources", ABSENT, True)],
    ),
    UpstreamField(
        "subtract.excludeMaskPlanes",
        "candidates.bad_mask_planes",
        ABSENT,
        ("NO_DATA", "BAD", "SAT", "EDGE", "FAKE", "HIGH_VARIANCE"),
        here=("NO_DATA", "BAD", "SAT", "EDGE"),
        note="a preset leaves FAKE and HIGH_VARIANCE out: most images have no such planes, and may not name them",
    ),
    *_without(
        "all planes of the template but DETECTED and DETECTED_NEGATIVE are kept",
        [("subtract.preserveTemplateMask", ABSENT, ("NO_DATA", "BAD", "HIGH_VARIANCE"))],
    ),
    *_without(
        "planes of the template keep their names",
        [("subtract.renameTemplateMask", ABSENT, ("SAT", "INJECTED", "INJECTED_CORE"))],
    ),
)
