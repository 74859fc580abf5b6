"""The two sets of basis functions behind one face: what a match needs to know of either."""

from __future__ import annotations

from dataclasses import dataclass

from psfmatch_cli.basis import BasisSpec, KernelBasis, alard_lupton_basis, basis_specs, delta_function_basis
from psfmatch_cli.config import CandidateConfig, KernelConfig
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.regularise import KernelRegularizer


@dataclass(frozen=True)
class DeltaFunctionSpec:
    """What a delta-function basis is made of.

    Parameters
    ----------
    size : int
        Side of the kernel in pixels, odd.
    """

    size: int

    @property
    def n_functions(self) -> int:
        return self.size**2

    def __str__(self) -> str:
        return f"{self.size} px, {self.n_functions} delta functions"


Spec = BasisSpec | DeltaFunctionSpec


def specs_to_try(target_fwhm: float | None, reference_fwhm: float | None, config: KernelConfig) -> list[Spec]:
    """The bases to try for two FWHMs, the preferred one first; parameters and errors as `basis_spec`."""
    if config.kernel_basis_set == "delta-function":
        return [DeltaFunctionSpec(config.side)]
    made = basis_specs(target_fwhm, reference_fwhm, config)
    return made[:1] if config.use_bic_for_kernel_basis else made


def make_basis(spec: Spec) -> KernelBasis:
    """The basis images of a spec."""
    return delta_function_basis(spec.size) if isinstance(spec, DeltaFunctionSpec) else alard_lupton_basis(spec)


def make_regularizer(spec: Spec, config: KernelConfig) -> KernelRegularizer | None:
    """Regularisation of the single fits; only a delta-function basis has one."""
    if not isinstance(spec, DeltaFunctionSpec) or not config.use_regularization:
        return None
    return KernelRegularizer(spec.size, config)


def wanted_parameters(spec: Spec, config: KernelConfig) -> int:
    """Local parameters of which a stamp has to leave twice as many fitted pixels.

    Delta functions cannot have that: their stamps leave (n + 2)^2 pixels for n^2 functions. Regularised ones are
    not independent, and half as many pixels as functions are enough; the others take what is just not singular.
    """
    if not isinstance(spec, DeltaFunctionSpec):
        return spec.n_functions + 1
    return spec.n_functions // 4 if config.use_regularization else spec.n_functions // 2 + 2


#: Half side of the stamps of delta functions, kernel sides. Measured with `benchmarks/simulated_pairs.py` at 512 x 512
#: pixels, 20 to 35 candidates: kernel sums are 1 to 9 % high with 1, and right to 0.5 % with 1.5.
DELTA_FUNCTION_STAMPS = 1.5


def with_stamps_for(config: CandidateConfig, kernel: KernelConfig) -> CandidateConfig:
    """The settings of candidates with the size of stamps that the basis needs, where none is given."""
    if config.fp_grow_kernel_scaling is not None or kernel.kernel_basis_set != "delta-function":
        return config
    return config.model_copy(update={"fp_grow_kernel_scaling": DELTA_FUNCTION_STAMPS})


def record_basis(metadata: TaskMetadata, spec: Spec) -> None:
    """Append the ``ALBasis*`` items; a delta-function basis has none."""
    if isinstance(spec, DeltaFunctionSpec):
        return
    metadata.add("ALBasisNGauss", len(spec.sigmas))
    metadata.add("ALBasisDegGauss", list(spec.degrees))
    metadata.add("ALBasisSigGauss", list(spec.sigmas))
    metadata.add("ALKernelSize", spec.size)
    metadata.add("ALBasisMode", spec.mode)
