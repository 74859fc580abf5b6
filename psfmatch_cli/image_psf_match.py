"""`ImagePsfMatchTask`: the stages called in order, on exposures and arrays, no file needed."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any

from psfmatch_cli.apply_kernel import apply_kernel
from psfmatch_cli.basis_sets import record_basis
from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.copies import Likeness, check_copies
from psfmatch_cli.diagnostics import Diagnosis, diagnose, report
from psfmatch_cli.difference import Difference, build_difference, with_detections
from psfmatch_cli.errors import BoxMismatchError, EmptySourceListError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.free_memory import release_freed
from psfmatch_cli.known_kernel import KnownKernel
from psfmatch_cli.overlap import beside
from psfmatch_cli.photometry import check_sum
from psfmatch_cli.plan import directions
from psfmatch_cli.psf_match import Attempt, Pair, PsfMatchTask
from psfmatch_cli.quality_run import quality_of
from psfmatch_cli.register import Registered, Widths, register, warn_of_deconvolution
from psfmatch_cli.results import MatchExposuresResult, SubtractExposuresResult, matched_result, subtracted_result
from psfmatch_cli.settings import Settings
from psfmatch_cli.summary import Findings, match_items
from psfmatch_cli.task import timed
from psfmatch_cli.whitened import whitened


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
                result, images = self._match(pair, convolve_template)
        return subtracted_result(pair.science, result, images)

    @timed
    def subtract_with_kernel(
        self, template: Exposure, science: Exposure, known: KnownKernel, **options: Any
    ) -> SubtractExposuresResult:
        """Science minus template with a kernel and a background that are known already.

        Parameters
        ----------
        template, science : Exposure
            Unchanged.
        known : KnownKernel
        **options
            And errors as of `psfmatch_cli.apply_kernel.apply_kernel`.
        """
        made = apply_kernel(known, template, science, self.config, **options)
        for name, value in made.metadata.items():
            self.metadata[name] = value
        return made.result

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
            result, images = self._match(pair, convolve_template)
        return subtracted_result(pair.science, result, images)

    def match_preconvolved(
        self, science: Exposure, matched: MatchExposuresResult, science_fwhm_pix: float
    ) -> tuple[MatchExposuresResult, Difference]:
        """Match the template of an earlier match to the science image after a convolution of that.

        Parameters
        ----------
        science : Exposure
            Convolved.
        matched : MatchExposuresResult
            Gives the template on the science grid, its FWHM, and the sources that may be candidates.
        science_fwhm_pix : float
            After the convolution.

        Raises
        ------
        NoCandidatesError, FitError
            As `match_exposures`.
        """
        template = matched.warped_exposure
        pair = self._prepare(
            template, science, matched.summary["template_fwhm"], science_fwhm_pix, matched.kernel_cell_set.table, False
        )
        registered = replace(pair.registered, autocorrelation=matched.template_correlation)
        return self._match(replace(pair, registered=registered), True)

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
        original = science
        if self.config.kernel.use_afw_background:
            science = self._without_background(science)
        with beside(self.config.threads) as start:
            look = start(self._look_at, science, science_fwhm, given is None and self._searches)
            registered, likeness = self._register(template, original, do_warping)
            if self.config.kernel.use_afw_background:
                registered = replace(registered, exposure=self._without_background(registered.exposure))
            fwhms = (template_fwhm, science_fwhm)
            widths = Widths.of(registered.exposure, science, *fwhms, science_width=lambda: look().width)
        same_noise = likeness is not None and likeness.copies
        pair = Pair(registered, science, widths, given, science, given is not None, same_noise)
        return pair if pair.own_sources else self._detect(pair, look())

    def _register(self, template: Exposure, science: Exposure, do_warping: bool) -> tuple[Registered, Likeness | None]:
        """The template on the science grid, how like its noise is to the science image's, and a record of both."""
        registered = register(template, science, self.config.warp, do_warping, threads=self.config.threads)
        self.metadata["warped"] = registered.warped
        self.metadata["registrationOffsetPix"] = registered.offset
        likeness = check_copies(registered.exposure, science, allow=self.config.allow_identical)
        self.metadata["noiseCorrelation"] = float("nan") if likeness is None else likeness.correlation
        for name, value in registered.alignment.metadata().items():
            self.metadata[name] = value
        return registered, likeness

    def _without_background(self, exposure: Exposure) -> Exposure:
        from psfmatch_cli.background import without_background

        return without_background(exposure, self.config.detection.background)

    def _match(self, pair: Pair, convolve_template: bool | None) -> tuple[MatchExposuresResult, Difference]:
        """The method after the registration: the match, and the difference."""
        release_freed()
        if pair.same_noise and self.config.kernel.correct_noise_bias:
            # The correction holds for noise that the two images do not share.
            kernel = self.config.kernel.model_copy(update={"correct_noise_bias": False})
            task = self._under(self.config.model_copy(update={"kernel": kernel}))
            return task._match(pair, convolve_template)
        attempt = self._adapted(
            pair, lambda task, found: task._tried(found, task._plan(found, convolve_template)), attrgetter("n_good")
        )
        attempt = self._with_supported_orders(attempt)
        self._check_enough(attempt)
        warn_of_deconvolution(pair.widths, attempt.plan.direction.convolve_template)
        release_freed()
        diagnosis = diagnose(attempt.fit, self.config.kernel.max_spatial_condition_number)
        report(diagnosis, self.config.strict)
        findings = self._findings(attempt, diagnosis)
        record_basis(self.metadata, attempt.plan.spec)
        for name, value in match_items(findings).items():
            self.metadata[name] = value
        return matched_result(pair.science, findings), findings.images

    def _findings(self, attempt: Attempt, diagnosis: Diagnosis) -> Findings:
        """The difference of a match, and all that is told about both."""
        pair, plan, fit = attempt.pair, attempt.plan, attempt.fit
        template, forward = pair.registered.exposure, plan.direction.convolve_template
        science, marked = pair.science, pair.marked.masked_image
        images = build_difference(plan, fit, template, science, marked, pair.registered.autocorrelation, self.config)
        if self.config.subtraction.decorrelate:
            science = science.with_pixels(with_detections(science.masked_image, marked))
            images = whitened(images, plan, fit, template, science, pair.registered.autocorrelation, self.config)
        sum_check = check_sum(fit.kernel.center_sum, *((template, science) if forward else (science, template)))
        adaptations = tuple(self.metadata.get_array("adaptations"))
        quality = quality_of(plan, fit, images, science, pair.widths, sum_check, self.config)
        return Findings(plan, fit, images, pair.widths, pair.registered, diagnosis, sum_check, adaptations, quality)
