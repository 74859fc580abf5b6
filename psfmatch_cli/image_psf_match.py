"""`ImagePsfMatchTask`: the stages called in order, on exposures and arrays, no file needed."""

from __future__ import annotations

import functools
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from psfmatch_cli.basis import (
    KernelBasis,
    alard_lupton_basis,
    basis_spec,
    delta_function_basis,
    explicit_spec,
)
from psfmatch_cli.basis_sets import Spec, record_basis, specs_to_try, wanted_parameters
from psfmatch_cli.candidates import CandidateSet, select_candidates
from psfmatch_cli.detect_tasks import BackgroundTask, DetectionTask, MeasurementTask
from psfmatch_cli.diagnostics import Diagnosis, diagnose, report
from psfmatch_cli.difference import build_difference, with_detections
from psfmatch_cli.errors import (
    BoxMismatchError,
    EmptySourceListError,
    ImageTooSmallError,
    NoCandidatesError,
    NoSourcesError,
    PsfMatchError,
)
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.photometry import check_sum
from psfmatch_cli.plan import Direction, Plan, better, directions, make_plan
from psfmatch_cli.psf_match import Attempt, Pair, PsfMatchTask
from psfmatch_cli.register import Widths, register, warn_of_deconvolution
from psfmatch_cli.results import MatchExposuresResult, SubtractExposuresResult, matched_result, subtracted_result
from psfmatch_cli.settings import Settings
from psfmatch_cli.source_list import source_table
from psfmatch_cli.summary import Findings, match_items
from psfmatch_cli.task import timed

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.detect import Detection


class ImagePsfMatchTask(PsfMatchTask):
    """Register, PSF-match and subtract two exposures.

    Parameters
    ----------
    config : Settings, optional
        All settings.
    name : str
        Name of the task, the first part of the keys of its metadata.
    """

    ConfigClass = Settings
    default_name = "psfMatch"

    def __init__(self, config: Settings | None = None, name: str | None = None, **kwargs):
        super().__init__(config, name, **kwargs)
        self.background = BackgroundTask(self.config.detection.background, parent_task=self)
        self.select_detection = DetectionTask(self.config.detection, parent_task=self)
        self.select_measurement = MeasurementTask(parent_task=self)

    # The methods that find sources and candidates

    def get_select_sources(
        self, exposure: Exposure, sigma: float | None = None, do_smooth: bool = True, *, psf_sigma: float | None = None
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
        """
        from psfmatch_cli.detect import Detection, log_result

        background = self.background.run(exposure.masked_image)
        found = self.select_detection.run(exposure, background, threshold=sigma, psf_sigma=psf_sigma, smooth=do_smooth)
        made = Detection.of(found, self.select_measurement.run(exposure, found))
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
            self.config.candidates,
            self.config.kernel,
            kernel_size=kernel_size,
            n_parameters=n_parameters,
        )
        self.metadata["nCandidates"] = len(made)
        return made

    def find_candidates(
        self,
        template: Exposure,
        science: Exposure,
        template_fwhm_pix: float | None = None,
        science_fwhm_pix: float | None = None,
        candidate_list: Any | None = None,
        do_warping: bool = True,
        convolve_template: bool | None = None,
    ) -> CandidateSet:
        """The candidates that `match_exposures` would start from; parameters and errors as there.

        Where several directions or bases would be tried, those of the first.
        """
        pair = self._prepare(template, science, template_fwhm_pix, science_fwhm_pix, candidate_list, do_warping)
        direction = directions(pair.widths.template, pair.widths.science, convolve_template)[0]
        made = self._adapted(
            pair, lambda task, found: task._candidates(found, task._specs(found, direction)[0]), count=len
        )
        self.metadata["nSources"], self.metadata["nCandidates"] = len(made.table), len(made)
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

    # The methods that match

    @timed
    def match_exposures(
        self,
        template: Exposure,
        science: Exposure,
        template_fwhm_pix: float | None = None,
        science_fwhm_pix: float | None = None,
        candidate_list: Any | None = None,
        do_warping: bool = True,
        convolve_template: bool | None = None,
    ) -> MatchExposuresResult:
        """Warp the template if need be, fit the matching kernel, convolve.

        Parameters
        ----------
        template, science : Exposure
            Unchanged.
        template_fwhm_pix, science_fwhm_pix : float, optional
            FWHMs in science pixels; default: of the exposures' PSFs, else measured from their stars.
        candidate_list : optional
            Sources to use, in any of the forms of `make_candidate_list`.
        do_warping : bool
            Whether a template on another grid is warped; if not, it is an error.
        convolve_template : bool, optional
            Convolve the template or the science image; default: the sharper of the two.

        Raises
        ------
        NoOverlapError, DifferentGridsError, BoxMismatchError
            If the exposures do not overlap, or are not on one grid and `do_warping` is False, or have no WCS and
            differ in size or origin.
        NoCandidatesError
            If there are no usable candidates, or all were rejected; its subclasses tell which, its counts why.
        FitError
            If the system cannot be solved, or ``strict`` is on and the solution cannot be trusted.
        """
        pair = self._prepare(template, science, template_fwhm_pix, science_fwhm_pix, candidate_list, do_warping)
        with self.timer("matchMaskedImages"):
            return self._match(pair, convolve_template)[0]

    @timed
    def subtract_exposures(
        self,
        template: Exposure,
        science: Exposure,
        template_fwhm_pix: float | None = None,
        science_fwhm_pix: float | None = None,
        candidate_list: Any | None = None,
        do_warping: bool = True,
        convolve_template: bool | None = None,
    ) -> SubtractExposuresResult:
        """`match_exposures`, then science minus template; parameters and errors as there.

        `psfmatch_cli.difference.build_difference` has the equations of both directions.
        """
        with self.timer("matchExposures"):
            pair = self._prepare(template, science, template_fwhm_pix, science_fwhm_pix, candidate_list, do_warping)
            with self.timer("matchMaskedImages"):
                result, difference = self._match(pair, convolve_template)
        return subtracted_result(pair.science, result, difference)

    @timed
    def match_masked_images(
        self,
        template: MaskedImage,
        science: MaskedImage,
        candidate_list: Any,
        template_fwhm_pix: float | None = None,
        science_fwhm_pix: float | None = None,
        convolve_template: bool | None = True,
    ) -> MatchExposuresResult:
        """Match two masked images that are on one grid, with the caller's sources.

        Raises
        ------
        EmptySourceListError
            If there are no sources.
        BoxMismatchError
            If the images differ in size or origin. (Upstream compares the sizes alone.)
        NoCandidatesError, FitError
            As `match_exposures`.
        """
        exposures = self._as_exposures(template, science, candidate_list)
        pair = self._prepare(*exposures, template_fwhm_pix, science_fwhm_pix, candidate_list, False)
        return self._match(pair, convolve_template)[0]

    @timed
    def subtract_masked_images(
        self,
        template: MaskedImage,
        science: MaskedImage,
        candidate_list: Any,
        template_fwhm_pix: float | None = None,
        science_fwhm_pix: float | None = None,
        convolve_template: bool | None = True,
    ) -> SubtractExposuresResult:
        """Match and subtract two masked images; parameters and errors as `match_masked_images`."""
        exposures = self._as_exposures(template, science, candidate_list)
        with self.timer("matchMaskedImages"):
            pair = self._prepare(*exposures, template_fwhm_pix, science_fwhm_pix, candidate_list, False)
            result, difference = self._match(pair, convolve_template)
        return subtracted_result(pair.science, result, difference)

    # What the methods above share

    @staticmethod
    def _as_exposures(
        template: MaskedImage, science: MaskedImage, candidate_list: Any | None
    ) -> tuple[Exposure, Exposure]:
        if candidate_list is None:
            raise EmptySourceListError(
                "matching masked images needs a list of sources, got none", {"sources": 0, "candidates": 0}
            )
        if template.box != science.box:
            raise BoxMismatchError(
                f"the template covers {template.box}, the science image {science.box}; they must be equal"
            )
        return Exposure(template, name="template"), Exposure(science, name="science")

    def _prepare(
        self,
        template: Exposure,
        science: Exposure,
        template_fwhm: float | None,
        science_fwhm: float | None,
        sources: Any | None,
        do_warping: bool,
    ) -> Pair:
        """Warp the template, measure the FWHMs, detect the sources; a wrong list of sources is found out first."""
        given = None if sources is None else self._given(sources, science)
        registered = register(template, science, self.config.warp, do_warping, threads=self.config.threads)
        self.metadata["warped"] = registered.warped
        self.metadata["registrationOffsetPix"] = registered.offset
        if self.config.kernel.use_afw_background:
            registered = replace(registered, exposure=self._without_background(registered.exposure))
            science = self._without_background(science)
        widths = Widths.of(registered.exposure, science, template_fwhm, science_fwhm)
        pair = Pair(registered, science, widths, given, science, given is not None)
        return pair if pair.own_sources else self._detect(pair)

    def _without_background(self, exposure: Exposure) -> Exposure:
        from psfmatch_cli.background import without_background

        return without_background(exposure, self.config.detection.background)

    def _detect(self, pair: Pair) -> Pair:
        """The pair with the sources that are found on the science image, or with the footprints of the old finder."""
        if self.config.candidates.finder == "footprints":
            return replace(pair, sources=self._footprints(pair.registered.exposure, pair.science), marked=pair.science)
        found = self.get_select_sources(
            pair.science, self.config.detection.threshold_value, psf_sigma=pair.widths.search_sigma
        )
        self.metadata["sourcePositions"] = "detected on the science image"
        marked = pair.science.with_pixels(found.mark(pair.science.masked_image))
        return replace(pair, sources=found.sources, marked=marked)

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

    def _match(self, pair: Pair, convolve_template: bool | None) -> tuple[MatchExposuresResult, MaskedImage]:
        """The method after the registration: the match, and the difference."""
        attempt = self._adapted(
            pair, lambda task, found: task._tried(found, task._plan(found, convolve_template)), attrgetter("n_good")
        )
        attempt = self._with_supported_orders(attempt)
        self._check_enough(attempt)
        warn_of_deconvolution(pair.widths, attempt.plan.direction.convolve_template)
        diagnosis = diagnose(attempt.fit, self.config.kernel.max_spatial_condition_number)
        report(diagnosis, self.config.strict)
        findings = self._findings(attempt, diagnosis)
        record_basis(self.metadata, attempt.plan.spec)
        for name, value in match_items(findings).items():
            self.metadata[name] = value
        return matched_result(pair.science, findings), findings.images.difference

    def _findings(self, attempt: Attempt, diagnosis: Diagnosis) -> Findings:
        """The difference of a match, and all that is told about both."""
        pair, plan, fit = attempt.pair, attempt.plan, attempt.fit
        template, forward = pair.registered.exposure, plan.direction.convolve_template
        science = pair.science.with_pixels(with_detections(pair.science.masked_image, pair.marked.masked_image))
        images = build_difference(plan, fit, template, science, pair.registered.autocorrelation, self.config)
        sum_check = check_sum(fit.kernel.center_sum, *((template, science) if forward else (science, template)))
        adaptations = tuple(self.metadata.get_array("adaptations"))
        return Findings(plan, fit, images, pair.widths, pair.registered, diagnosis, sum_check, adaptations)

    def _specs(self, pair: Pair, direction: Direction) -> list[Spec]:
        """The bases to try for one direction."""
        fwhms = (pair.widths.template, pair.widths.science)
        return specs_to_try(*(fwhms if direction.convolve_template else fwhms[::-1]), self.config.kernel)

    def _candidates(self, pair: Pair, spec: Spec) -> CandidateSet:
        """The candidates for the kernel size of a basis."""
        height, width = pair.science.shape
        if min(height, width) < spec.size:
            raise ImageTooSmallError(
                f"the images, {width} x {height} pixels, are smaller than the kernel, {spec.size} x {spec.size}; "
                "give a smaller one (--kernel-size)"
            )
        sources = pair.sources if pair.own_sources else self._checked(pair.sources, pair.science)
        n_parameters = wanted_parameters(spec, self.config.kernel)
        return self._select(sources, pair.registered.exposure, pair.marked, spec.size, n_parameters)

    def _plan(self, pair: Pair, convolve_template: bool | None) -> Plan:
        """The best of the plans for the directions and the bases that are open."""
        plans: list[Plan] = []
        failure: PsfMatchError | None = None
        template = pair.registered.exposure
        for direction in directions(pair.widths.template, pair.widths.science, convolve_template):
            for spec in self._specs(pair, direction):
                try:
                    candidates = self._candidates(pair, spec)
                    plans.append(make_plan(direction, spec, candidates, template, pair.marked, self.config))
                except NoCandidatesError as error:
                    failure = failure or error
        if not plans:
            raise failure
        plan = functools.reduce(better, plans)
        self.log.info("convolving the %s (%s); basis %s", plan.direction.convolved, plan.direction.reason, plan.spec)
        return plan
