"""The table of upstream's settings."""

import pytest

from psfmatch_cli.setting_keys import bare, counterpart, keys
from psfmatch_cli.upstream import ABSENT, UPSTREAM

#: Every field of the upstream task's configuration, group by group.
BOTH = """useAfwBackground fitForBackground kernelBasisSet kernelSize scaleByFwhm kernelSizeFwhmScaling kernelSizeMin
    kernelSizeMax spatialModelType spatialKernelOrder spatialBgOrder sizeCellX sizeCellY nStarPerCell
    maxSpatialIterations usePcaForSpatialKernel subtractMeanForPca numPrincipalComponents singleKernelClipping
    kernelSumClipping spatialKernelClipping checkConditionNumber badMaskPlanes candidateResidualMeanMax
    candidateResidualStdMax useCoreStats candidateCoreRadius maxKsumSigma maxConditionNumber conditionNumberType
    maxSpatialConditionNumber iterateSingleKernel constantVarianceWeighting calculateKernelUncertainty
    useBicForKernelBasis"""
GROUPS = {
    "": "kernel warpingConfig detectionConfig afwBackgroundConfig",
    "AL.": BOTH
    + """ alardNGauss alardDegGauss alardSigGauss alardGaussBeta alardMinSig alardDegGaussDeconv alardMinSigDeconv
    alardNGaussDeconv""",
    "DF.": BOTH
    + """ useRegularization regularizationType centralRegularizationStencil forwardRegularizationOrders
    regularizationBorderPenalty lambdaType lambdaValue lambdaScaling lambdaStepType lambdaMin lambdaMax lambdaStep""",
    "warpingConfig.": "warpingKernelName maskWarpingKernelName interpLength cacheSize growFullMask",
    "detectionConfig.": """detThreshold detThresholdType detOnTemplate badMaskPlanes fpNpixMin fpNpixMax
    fpGrowKernelScaling fpGrowPix scaleByFwhm""",
    "afwBackgroundConfig.": """statisticsProperty undersampleStyle binSize binSizeX binSizeY algorithm ignoredPixelMask
    isNanSafe useApprox approxOrderX approxOrderY weighting""",
    "selectDetection.": """thresholdValue reEstimateBackground thresholdType thresholdPolarity
    includeThresholdMultiplier minPixels isotropicGrow combinedGrow nSigmaToGrow returnOriginalFootprints
    nSigmaForKernel doTempLocalBackground doTempWideBackground nPeaksMaxSimple statsMask excludeMaskPlanes
    adjustBackground""",
    "selectMeasurement.": "plugins slots",
    "decorrelate.": """ignoreMaskPlanes completeVarPlanePropagation cellSizeX cellSizeY gridStepX gridStepY borderSizeX
    borderSizeY reduceOperation""",
    "makeKernel.": "fwhmExposureGrid fwhmExposureBuffer",
    "subtract.": """mode doSubtractBackground doDecorrelation doScaleVariance requiredTemplateFraction
    minTemplateFractionForExpectedSuccess maxKernelSources minKernelSources restrictKernelEdgeSources excludeMaskPlanes
    preserveTemplateMask renameTemplateMask""",
}
NAMES = [prefix + name for prefix, names in GROUPS.items() for name in names.split()]


def field(name):
    (found,) = [field for field in UPSTREAM if field.name == name]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_upstream_setting_leads_somewhere(name):
    found = field(name)
    assert found.key in keys() if found.key else found.note
    assert counterpart(name) is found


def test_the_table_has_no_other_names_than_those_and_the_backgrounds_of_the_detection():
    others = {each.name for each in UPSTREAM} - set(NAMES)
    background = GROUPS["afwBackgroundConfig."].split()
    assert others == {f"selectDetection.temp{kind}Background.{n}" for kind in ("Local", "Wide") for n in background}


def test_no_name_of_upstream_is_one_of_ours():
    # Else a path could mean either.
    assert not {bare(each.name) for each in UPSTREAM} & {bare(key) for key in keys()}


def test_every_setting_of_upstream_has_a_default_in_some_version():
    for each in UPSTREAM:
        assert (each.default("v23"), each.default("head")) != (ABSENT, ABSENT), each.name


@pytest.mark.parametrize(
    ("name", "v23", "head"),
    [
        ("AL.spatialKernelOrder", 2, 1),
        ("DF.maxConditionNumber", 5e6, 5e6),
        ("AL.alardSigGauss", (0.7, 1.5, 3.0), (0.7, 1.5, 3.0)),
        ("selectDetection.thresholdType", "stdev", "pixel_stdev"),
        ("detectionConfig.fpGrowPix", 30, ABSENT),
        ("subtract.mode", ABSENT, "convolveTemplate"),
        ("selectDetection.tempWideBackground.binSize", 512, 512),
    ],
)
def test_defaults_of_both_versions(name, v23, head):
    assert (field(name).default("v23"), field(name).default("head")) == (v23, head)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("al.spatial_kernel_order", "AL.spatialKernelOrder"),
        ("AL.warpingConfig.interpLength", "warpingConfig.interpLength"),
        ("makeKernel.kernel.active.kernelSize", "AL.kernelSize"),
        ("kernel", "kernel"),
    ],
)
def test_paths_may_be_spelt_otherwise_and_longer(path, name):
    assert counterpart(path).name == name


@pytest.mark.parametrize(
    "path", ["spatialKernelOrder", "kernel.spatialKernelOrder", "detection.thresholdValue", "x.y.z"]
)
def test_other_paths_are_not_upstreams(path):
    assert counterpart(path) is None
