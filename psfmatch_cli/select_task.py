"""`SelectTask`: the sources of an exposure, the candidates among sources, and the kernel basis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psfmatch_cli.basis import KernelBasis, alard_lupton_basis, basis_spec, delta_function_basis, explicit_spec
from psfmatch_cli.basis_sets import record_basis, specs_to_try, wanted_parameters, with_stamps_for
from psfmatch_cli.candidates import CandidateSet, select_candidates
from psfmatch_cli.detect_tasks import BackgroundTask, DetectionTask, MeasurementTask
from psfmatch_cli.errors import NoSourcesError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.settings import Settings
from psfmatch_cli.source_list import source_table
from psfmatch_cli.task import Task

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.background import BackgroundFit
    from psfmatch_cli.detect import Detection


class SelectTask(Task):
    """Find sources and select kernel candidates; parameters as `ImagePsfMatchTask`."""

    ConfigClass = Settings

    def __init__(self, config: Settings | None = None, name: str | None = None, **kwargs):
        super().__init__(config, name, **kwargs)
        self.background = BackgroundTask(self.config.detection.background, parent_task=self)
        self.select_detection = DetectionTask(self.config.detection, parent_task=self)
        self.select_measurement = MeasurementTask(parent_task=self)

    def get_select_sources(
        self,
        exposure: Exposure,
        sigma: float | None = None,
        do_smooth: bool = True,
        *,
        psf_sigma: float | None = None,
        background: BackgroundFit | None = None,
        shapes: bool = True,
    ) -> Detection:
        """Sources of an exposure for PSF matching.

        Parameters
        ----------
        exposure : Exposure
            Unchanged.
        sigma : float, optional
            Detection threshold; default from the settings. (Upstream's code takes the argument of this name
            for the width of the PSF; its documentation says threshold.)
        do_smooth : bool
            Smooth by the PSF before the search.
        psf_sigma : float, optional
            Gaussian sigma of the PSF, pixels; default: of the exposure's PSF, else measured from its stars.
        background : BackgroundFit, optional
            Background of the exposure by the settings, where the caller has it already.
        shapes : bool
            Whether the sources' shapes and flags are wanted, too; the matching does without.
        """
        from psfmatch_cli.detect import Detection, log_result

        background = background or self.background.run(exposure.masked_image)
        found = self.select_detection.run(exposure, background, threshold=sigma, psf_sigma=psf_sigma, smooth=do_smooth)
        made = Detection.of(found, self.select_measurement.run(exposure, found, shapes=shapes))
        self.metadata["nSources"] = len(made.sources)
        log_result(exposure.name, made)
        return made

    def make_candidate_list(
        self,
        template: Exposure,
        science: Exposure,
        kernel_size: int,
        candidate_list: Any | None = None,
        *,
        n_parameters: int | None = None,
    ) -> CandidateSet:
        """Sources that may constrain the kernel, the masks of both images examined.

        Parameters
        ----------
        template, science : Exposure
            On one pixel grid.
        kernel_size : int
            Side of the kernel, pixels.
        candidate_list : Table, SkyCoord, array (n, 2), list of positions, footprints or sources, optional
            Sources, as for `psfmatch_cli.source_list.source_table`; default: detected on the science exposure.
        n_parameters : int, optional
            Local parameters that a stamp must constrain; default: those of the configured basis.

        Raises
        ------
        NoCandidatesError
            If the list is empty or no source survives; with the count of every reason.
        SourceTypeError
            If the entries of the list differ in type, or are no sources.
        """
        if candidate_list is None and self.config.candidates.finder == "footprints":
            sources = self._checked(self._footprints(template, science), science)
        elif candidate_list is None:
            detection = self.get_select_sources(science)
            sources = self._checked(detection.sources, science)
            science = science.with_pixels(detection.mark(science.masked_image))
        else:
            sources = self._given(candidate_list, science)
        if n_parameters is None:
            kernel = self.config.kernel
            n_parameters = wanted_parameters(specs_to_try(None, None, kernel)[0], kernel)
        return self._select(sources, template, science, kernel_size, n_parameters)

    def _given(self, candidate_list: Any, science: Exposure) -> Table:
        """The caller's sources on the science image."""
        sources = source_table(candidate_list, science)
        self.metadata["sourcePositions"] = sources.meta["positions"]
        return sources

    def _select(
        self, sources: Table, template: Exposure, science: Exposure, kernel_size: int, n_parameters: int
    ) -> CandidateSet:
        """The candidates among sources whose positions are known."""
        made = select_candidates(
            sources,
            template,
            science,
            with_stamps_for(self.config.candidates, self.config.kernel),
            self.config.kernel,
            kernel_size=kernel_size,
            n_parameters=n_parameters,
        )
        self.metadata["nCandidates"] = len(made)
        return made

    def make_kernel_basis_list(
        self,
        target_fwhm_pix: float | None = None,
        reference_fwhm_pix: float | None = None,
        basis_deg_gauss: list[int] | None = None,
        basis_sigma_gauss: list[float] | None = None,
        metadata: TaskMetadata | None = None,
    ) -> KernelBasis:
        """Basis that takes the target's FWHM to the reference's, or of given widths and degrees.

        The delta-function basis depends on none of the arguments and has no ``ALBasis*`` items.

        Parameters
        ----------
        target_fwhm_pix, reference_fwhm_pix : float, optional
            FWHM of the image to convolve and of the one to match, pixels.
        basis_deg_gauss : list of int, optional
            Polynomial degrees instead of the configured ones, one per Gaussian.
        basis_sigma_gauss : list of float, optional
            Sigmas by hand, in pixels, one per degree: neither scaled by the FWHMs nor followed by a wing.
        metadata : TaskMetadata, optional
            Where the ``ALBasis*`` items go; their mode is ``explicit`` where the sigmas are given.

        Raises
        ------
        UsageError
            If a FWHM or a sigma is not positive, or there is not one degree per sigma.
        """
        kernel = self.config.kernel
        if kernel.kernel_basis_set == "delta-function":
            return delta_function_basis(kernel.side)
        degrees = None if basis_deg_gauss is None else tuple(basis_deg_gauss)
        if basis_sigma_gauss is None:
            spec = basis_spec(target_fwhm_pix, reference_fwhm_pix, kernel, degrees)
        else:
            degrees = tuple(kernel.alard_deg_gauss) if degrees is None else degrees
            spec = explicit_spec(tuple(basis_sigma_gauss), degrees, kernel)
        if metadata is not None:
            record_basis(metadata, spec)
        return alard_lupton_basis(spec)

    def _footprints(self, template: Exposure, science: Exposure) -> Table:
        """What the old finder finds on the template or the science image; it marks nothing in a mask."""
        from psfmatch_cli.footprints import find_footprints

        found = find_footprints(template, science, self.config.candidates)
        self.metadata["sourcePositions"] = found.meta["positions"]
        self.metadata["nSources"] = len(found)
        return found

    def _checked(self, sources: Table, science: Exposure) -> Table:
        """Sources that were detected, or footprints, at least one."""
        if len(sources) == 0 and self.config.candidates.finder == "footprints":
            finder = self.config.candidates
            raise NoSourcesError(
                f"there are no {sources.meta['positions']} of {finder.fp_npix_min} pixels or more at a threshold of "
                f"{finder.det_threshold:g} ({finder.det_threshold_type})",
                {"sources": 0, "candidates": 0},
            )
        if len(sources) == 0:
            detection = self.config.detection
            raise NoSourcesError(
                f"no source was detected on {science.name} at a threshold of {detection.threshold_value:g} "
                f"({detection.threshold_type})",
                {"sources": 0, "candidates": 0},
            )
        return sources
