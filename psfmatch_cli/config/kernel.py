"""Settings of the matching kernel: bases, solving, rejection.

The keys are flat (``kernel.lambda_value``); the classes only group them for the reader.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from psfmatch_cli.config.base import Group, Planes

#: Side of the delta-function kernel where none is given, pixels: upstream's, never scaled by a FWHM.
DELTA_FUNCTION_SIZE = 21
#: Limit of a candidate's condition number by basis set where none is given.
CONDITION_LIMITS = {"alard-lupton": 5e7, "delta-function": 5e6}
#: Most candidates by basis set where no number is given. More Gaussians' candidates cost time and gain nothing:
#: `benchmarks/simulated_pairs.py standard varying crowded` leaves the same star residuals with 180 of them as with 500.
CANDIDATE_LIMITS = {"alard-lupton": 300, "delta-function": 100}


class BasisFields(Group):
    """Which functions the kernel is made of."""

    kernel_basis_set: Literal["alard-lupton", "delta-function"] = Field(
        "alard-lupton", description="Gaussians times polynomials, or one function per kernel pixel"
    )
    alard_n_gauss: int | None = Field(
        None, ge=1, description="number of Gaussians (alard-lupton); none: as many as alard_deg_gauss has"
    )
    alard_sig_gauss: list[Annotated[float, Field(gt=0, le=100)]] = Field(
        [0.7, 1.5, 3.0], min_length=1, description="Gaussian sigmas in pixels, if not scaled by the FWHMs"
    )
    alard_deg_gauss: list[Annotated[int, Field(ge=0, le=20)]] = Field(
        [4, 2, 2], min_length=1, description="polynomial degree per Gaussian"
    )
    richer_deg_gauss: list[Annotated[int, Field(ge=0, le=20)]] = Field(
        [6, 4, 2],
        description="degrees of a richer basis, tried as well and taken if it predicts left-out candidates clearly "
        "better; empty: none",
    )
    use_bic_for_kernel_basis: bool = Field(
        False,
        description="choose the degrees, up to alard_deg_gauss, by the candidates' votes with the Bayesian information "
        "criterion; no richer basis is tried then",
    )
    wing_gaussian: bool = Field(
        True, description="add a Gaussian of degree 0, beta times the widest: the wings (upstream has none)"
    )
    alard_sigma_rule: Literal["head", "v23"] = Field(
        "head", description="how sigmas follow from the FWHMs: upstream's rule of today, or that of spring 2023"
    )
    alard_gauss_beta: float = Field(2.0, gt=1, le=100, description="ratio of successive sigmas")
    alard_min_sig: float = Field(0.7, ge=0.25, le=100, description="smallest sigma when convolving, pixels")
    alard_min_sig_deconv: float = Field(0.4, ge=0.25, le=100, description="smallest sigma when deconvolving, pixels")
    alard_n_gauss_deconv: int = Field(3, ge=1, description="number of Gaussians when deconvolving by the v23 rule: 3")
    alard_deg_gauss_deconv: int = Field(
        3, ge=1, description="degree of all Gaussians when deconvolving by the v23 rule"
    )
    scale_by_fwhm: bool = Field(True, description="take sigmas and size from the two FWHMs")
    kernel_size: int | None = Field(
        None, ge=3, description="side of the kernel in pixels, odd; none: from the basis (delta-function: 21)"
    )
    kernel_size_fwhm_scaling: float = Field(6.0, ge=1, description="side of the kernel per largest sigma")
    kernel_size_per_fwhm: float = Field(
        6.8, ge=0, description="side of the kernel at least this times the larger FWHM (upstream has no such rule)"
    )
    kernel_size_min: int = Field(27, ge=3, description="smallest side from the rule, odd")
    kernel_size_max: int = Field(35, ge=3, description="largest side from the rule, odd")

    @model_validator(mode="after")
    def _sizes_are_odd(self):
        for name in ("kernel_size", "kernel_size_min", "kernel_size_max"):
            value = getattr(self, name)
            if value is not None and value % 2 == 0:
                raise ValueError(f"{name} must be odd, got {value}")
        if self.kernel_size_min > self.kernel_size_max:
            raise ValueError(f"kernel_size_min {self.kernel_size_min} is above kernel_size_max {self.kernel_size_max}")
        n = len(self.alard_deg_gauss)
        if self.alard_n_gauss not in (None, n):
            raise ValueError(f"alard_n_gauss is {self.alard_n_gauss}, but alard_deg_gauss has {n} degrees")
        return self


class DeltaFunctionFields(Group):
    """Regularisation of the delta-function basis, and principal components."""

    use_regularization: bool = Field(True, description="regularise the single fits of the delta-function basis")
    regularization_type: Literal["centralDifference", "forwardDifference"] = Field(
        "centralDifference", description="what is kept small: the Laplacian, or forward differences"
    )
    central_regularization_stencil: Literal[5, 9] = Field(9, description="points of the Laplacian's stencil")
    forward_regularization_orders: list[Annotated[int, Field(ge=1, le=3)]] = Field(
        [1, 2], min_length=1, description="orders of the forward differences, each 1 to 3"
    )
    regularization_border_penalty: float = Field(3.0, ge=0, description="penalty of the kernel's border pixels")
    lambda_type: Literal["absolute", "relative", "minimizeBiasedRisk", "minimizeUnbiasedRisk"] = Field(
        "absolute", description="how the strength of the regularisation is chosen"
    )
    lambda_value: float = Field(0.2, ge=0, description="strength, if absolute")
    lambda_scaling: float = Field(1e-4, ge=0, description="strength per trace(M)/trace(H), if relative")
    lambda_step_type: Literal["log", "linear"] = Field("log", description="scale of the scan for the least risk")
    lambda_min: float = Field(-1.0, ge=-1e6, le=1e6, description="start of the scan; of a log scan, as a power of ten")
    lambda_max: float = Field(2.0, ge=-1e6, le=1e6, description="its end (100 suits a linear scan)")
    lambda_step: float = Field(0.1, gt=0, description="its step")
    spatial_regularization: bool = Field(
        False, description="regularise the spatial solution, too (upstream does not: there lambda has no effect on it)"
    )
    use_pca_for_spatial_kernel: bool | None = Field(
        None,
        description="use the principal components of the candidates' kernels as the basis; none: with delta-function",
    )
    subtract_mean_for_pca: bool = Field(True, description="components of what differs from the mean, which comes first")
    num_principal_components: int = Field(5, ge=3, description="basis images kept, the mean included")


class SolvingFields(Group):
    """Fits of candidates and of the spatial model."""

    spatial_model_type: Literal["chebyshev1", "polynomial"] = Field("chebyshev1", description="spatial functions")
    spatial_kernel_order: int | None = Field(None, ge=0, le=20, description="order of the kernel; none: from the data")
    spatial_bg_order: int | None = Field(None, ge=0, le=20, description="order of the background; none: from the data")
    fit_for_background: bool = Field(True, description="fit a differential background with the kernel")
    use_afw_background: bool = Field(
        False, description="take each image's own background (detection.background) off before the match"
    )
    refine_background: bool = Field(True, description="refine the background on the sky of the difference")
    constant_variance_weighting: bool = Field(
        True, description="one weight per stamp, of its median variance; off: the variance of each pixel"
    )
    iterate_single_kernel: bool = Field(
        False, description="fit each candidate again with the variance of its first difference; needs pixel weights"
    )
    correct_noise_bias: bool = Field(
        True, description="take what the convolved image's noise adds off the normal equations (upstream does not)"
    )
    calculate_kernel_uncertainty: bool = Field(
        False, description="compute the covariance of kernel and background (upstream never does)"
    )
    condition_number_type: Literal["EIGENVALUE", "SVD"] = Field(
        "EIGENVALUE", description="ratio of the extreme eigenvalues, signed, or of the singular values"
    )
    # Double precision has 16 digits: at 1e12 four are left. Measured on good real pairs: up to 2e11.
    max_spatial_condition_number: float = Field(1e12, ge=0, description="warning limit of the spatial system")


class RejectionFields(Group):
    """Cells, and the rejection of candidates."""

    size_cell_x: int = Field(128, ge=32, description="width of a spatial cell, pixels")
    size_cell_y: int = Field(128, ge=32, description="height of a spatial cell, pixels")
    n_star_per_cell: int = Field(5, description="candidates used per cell; 0 or less: all")
    max_candidates: int | None = Field(
        None,
        ge=10,
        description="candidates used at most: where there are more, cells are made larger; none: 300 "
        "(alard-lupton), 100 (delta-function, whose systems take 1.6 MB each)",
    )
    max_spatial_iterations: int = Field(3, ge=1, le=20, description="rounds of spatial rejection")
    single_kernel_clipping: bool = Field(True, description="reject by residuals of the own fit")
    kernel_sum_clipping: bool = Field(True, description="reject by kernel sum")
    spatial_kernel_clipping: bool = Field(True, description="reject by residuals of the spatial model")
    check_condition_number: bool = Field(False, description="reject by the condition number of the own fit")
    max_condition_number: float | None = Field(
        None,
        ge=0,
        description="its limit, also that of the biased risk; none: 5e7 (alard-lupton), 5e6 (delta-function)",
    )
    bad_mask_planes: Planes | None = Field(
        None,
        description="mask planes left out of residual statistics and ratings; none: candidates.bad_mask_planes",
    )
    candidate_residual_mean_max: float = Field(0.25, ge=0, description="limit of |mean| of residual/noise")
    candidate_residual_std_max: float = Field(1.5, ge=0, description="limit of the rms of residual/noise")
    use_core_stats: bool = Field(False, description="judge residuals by the core of a stamp alone")
    candidate_core_radius: int = Field(
        3, ge=1, description="half side of the core, of (2 r + 1)^2 pixels; also rated by"
    )
    kernel_sum_errors: bool = Field(
        True, description="add each kernel sum's own error to the clipped scatter of all (upstream does not)"
    )
    max_ksum_sigma: float = Field(3.0, ge=0, description="kernel sum limit in clipped sigmas")


class KernelConfig(RejectionFields, SolvingFields, DeltaFunctionFields, BasisFields):
    """The matching kernel, its spatial model and the rejection of candidates."""

    @model_validator(mode="after")
    def _what_is_asked_for_has_an_effect(self):
        if self.iterate_single_kernel and self.constant_variance_weighting:
            raise ValueError("iterate_single_kernel has no effect unless constant_variance_weighting is false")
        if self.spatial_regularization and (self.uses_pca or self.kernel_basis_set != "delta-function"):
            raise ValueError(
                "spatial_regularization has no effect unless kernel_basis_set is delta-function and "
                "use_pca_for_spatial_kernel is false"
            )
        if self.use_bic_for_kernel_basis and self.kernel_basis_set == "delta-function":
            raise ValueError("use_bic_for_kernel_basis has no effect with kernel_basis_set delta-function")
        return self

    @property
    def uses_pca(self) -> bool:
        """Whether principal components are the basis of the spatial model."""
        if self.use_pca_for_spatial_kernel is None:
            return self.kernel_basis_set == "delta-function"
        return self.use_pca_for_spatial_kernel

    @property
    def candidate_limit(self) -> int:
        """Most candidates that are used."""
        if self.max_candidates is None:
            return CANDIDATE_LIMITS[self.kernel_basis_set]
        return self.max_candidates

    @property
    def condition_limit(self) -> float:
        """Largest condition number of a single fit."""
        if self.max_condition_number is None:
            return CONDITION_LIMITS[self.kernel_basis_set]
        return self.max_condition_number

    @property
    def side(self) -> int | None:
        """Side of the kernel if it does not follow from widths, pixels."""
        if self.kernel_size is None and self.kernel_basis_set == "delta-function":
            return DELTA_FUNCTION_SIZE
        return self.kernel_size
