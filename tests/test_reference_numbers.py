"""The published solutions of the 193 x 193 comparison pair, to 1e-5.

The pair is not part of the repository: the tests are skipped where its folder is absent.
"""

from __future__ import annotations

import numpy as np
import pytest

from psfmatch_cli.basis import BasisSpec, KernelBasis, alard_lupton_basis
from psfmatch_cli.design import convolve_stamps
from psfmatch_cli.exposure import Box
from psfmatch_cli.kernel import SpatialModel
from psfmatch_cli.solve import NormalEquations, normal_equations, solve_each
from psfmatch_cli.spatial import SpatialLayout, SpatialSystem, accumulate, solve_spatial
from reference_data import data_folder

#: Integer centres of the nine candidates, in their order.
CENTERS = [(32, 32), (96, 32), (160, 32), (96, 95), (31, 96), (160, 96), (96, 160), (160, 160), (32, 160)]
SUBSETS = {"single": [7], "four": [3, 5, 6, 7], "all": list(range(9))}
#: Position of the published functions in our order, the factor between them, and their powers.
ORDER = [0, 2, 5, 9, 1, 4, 8, 3, 7, 6]
POWERS = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0)]
#: Powers of the published spatial terms (the y power runs fastest) and where ours stand among them.
TERM_ORDER = {0: [0], 1: [0, 2, 1], 2: [0, 3, 1, 5, 4, 2]}

SINGLE = [0.959086, -0.000344, -0.197758, 0.000019, -0.000172, 0.000053, 0.000018, -0.192776, 0.000000, 0.000001]
FOUR = [0.969559, -0.000223, -0.198374, 0.000012, -0.000010, 0.000036, -0.000004, -0.206751, 0.000012, 0.000004]
ALL = [0.968505, -0.000053, -0.206505, 0.000005, 0.000062, 0.000028, -0.000004, -0.206135, 0.000005, 0.000001]
FOUR_VARYING = [
    [0.969559, 0, 0],
    [-0.000082, -0.000620, 0.000185],
    [-0.197749, 0.001418, -0.003321],
    [0.000002, 0.000049, -0.000016],
    [0.000211, -0.000283, -0.000397],
    [0.000034, 0.000002, 0.000006],
    [-0.000013, 0.000041, -0.000010],
    [-0.220238, 0.028395, 0.013148],
    [0.000019, -0.000025, 0.000003],
    [0.000003, 0.000000, 0.000005],
]
ALL_VARYING = [
    [0.968505, 0, 0, 0, 0, 0],
    [-0.000094, -0.000206, -0.000027, 0.000025, -0.000705, 0.000162],
    [-0.188375, 0.001801, -0.027534, 0.008718, 0.016346, -0.033879],
    [0.000004, 0.000012, 0.000023, 0.000004, 0.000017, -0.000020],
    [0.000128, -0.000218, 0.000304, -0.000038, -0.000151, -0.000531],
    [-0.000011, -0.000013, 0.000038, -0.000017, 0.000133, 0.000093],
    [-0.000003, 0.000003, 0.000006, 0.000008, 0.000002, -0.000010],
    [-0.212235, -0.000856, 0.012246, -0.010893, 0.049302, 0.008249],
    [0.000014, -0.000002, -0.000050, -0.000001, 0.000030, 0.000020],
    [-0.000001, 0.000010, -0.000012, -0.000007, 0.000015, 0.000019],
]
FOUR_BACKGROUND = [0.782113, -0.910963, -0.106636]
ALL_BACKGROUND = [0.812488, 0.096456, -1.140900, 0.132670, -0.571923, -0.284670]
CASES = [
    ("single", 0, 0, [[c] for c in SINGLE], [0.602642]),
    ("four", 0, 0, [[c] for c in FOUR], [0.452304]),
    ("four", 1, 0, FOUR_VARYING, [0.452304]),
    ("four", 0, 1, [[c] for c in FOUR], FOUR_BACKGROUND),
    ("four", 1, 1, FOUR_VARYING, FOUR_BACKGROUND),
    ("all", 0, 0, [[c] for c in ALL], [0.392482]),
    ("all", 0, 2, [[c] for c in ALL], ALL_BACKGROUND),
    ("all", 2, 0, ALL_VARYING, [0.392482]),
    ("all", 2, 2, ALL_VARYING, ALL_BACKGROUND),
]


def one_dimensional(power: int, even: bool) -> np.ndarray:
    t = np.arange(-9, 10)
    line = np.exp(-(t**2) / 18.0) * t**power
    return line / line.sum() if even else line


def published_basis() -> KernelBasis:
    """Their ten functions, each a multiple of one of ours."""
    ours = alard_lupton_basis(BasisSpec(19, (3.0,), (3,))).images
    images = []
    for ax, ay in POWERS:
        even = ax % 2 == 0 and ay % 2 == 0
        raw = np.outer(one_dimensional(ay, even), one_dimensional(ax, even))
        images.append(raw - images[0] if even and images else raw)
    theirs = np.array(images)
    for k, index in enumerate(ORDER):
        ratio = np.vdot(ours[index], theirs[k]) / np.vdot(theirs[k], theirs[k])
        # Proportional to rounding: the same span, so the same kernels.
        np.testing.assert_allclose(theirs[k] * ratio, ours[index], atol=1e-14)
    return KernelBasis(theirs, constant_first=True)


@pytest.fixture(scope="module")
def equations() -> NormalEquations:
    from astropy.io import fits

    folder = data_folder("reference-pair")
    science = fits.getdata(folder / "scienceMI.fits", 1).astype(float)
    template = fits.getdata(folder / "templateMI.fits", 1).astype(float)
    stamps = [(slice(y - 24, y + 25), slice(x - 24, x + 25)) for x, y in CENTERS]
    design = convolve_stamps(np.array([template[s] for s in stamps]), published_basis())
    target = np.array([science[s][9:-9, 9:-9].ravel() for s in stamps])
    # The median of the summed variances of every stamp is 100.
    return normal_equations(design, target, np.full(target.shape, 1 / 100.0), fit_background=True)


def test_single_candidate_intermediate_values(equations):
    assert equations.matrix[7, 0, 0] == pytest.approx(8004.095, rel=1e-6)
    solution = solve_each(equations)[7]
    assert solution[0] == pytest.approx(0.959086098, abs=1e-8)
    assert solution[-1] == pytest.approx(0.602642200, abs=1e-8)
    assert equations.chi2(solve_each(equations))[7] == pytest.approx(1016.738782, abs=1e-4)


@pytest.mark.parametrize(("subset", "kernel_order", "background_order", "kernel", "background"), CASES)
def test_published_spatial_solutions(equations, subset, kernel_order, background_order, kernel, background):
    chosen = np.array(SUBSETS[subset])
    x, y = np.array(CENTERS, float)[chosen].T
    scaled = [(np.float32((v - 96.5) / 96.5)).astype(float) for v in (x, y)]
    region = Box(0, 0, 192, 192)
    layout = SpatialLayout(
        10, True, SpatialModel("polynomial", kernel_order, region), SpatialModel("polynomial", background_order, region)
    )
    matrix, vector = accumulate(equations[chosen], *scaled, layout)
    solution = solve_spatial(SpatialSystem(matrix, vector, np.zeros_like(matrix)), layout)
    coefficients, fitted_background = layout.unpack(solution.parameters)
    # They list their functions in the order of true convolution's parity already: like ours.
    expected = np.array(kernel, float)[:, TERM_ORDER[kernel_order]]
    np.testing.assert_allclose(coefficients, expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(fitted_background, np.array(background)[TERM_ORDER[background_order]], atol=1e-5, rtol=0)
