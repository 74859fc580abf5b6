"""The tasks that find the sources: background, search with its own subtask, measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psfmatch_cli.config import BackgroundConfig, DetectionConfig
from psfmatch_cli.errors import UsageError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.task import Task, timed

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.background import BackgroundFit
    from psfmatch_cli.search import Search

#: Items of a search that upstream's detection task records, too; the last one only of a smoothed search.
RECORDED = ("doSmooth", "sigma", "nGrow", "smoothingKernelWidth")


class BackgroundTask(Task):
    """Fit the background of an image."""

    ConfigClass = BackgroundConfig
    default_name = "background"

    def run(self, masked_image: MaskedImage) -> BackgroundFit:
        """Background of a masked image, which is not changed; errors as `psfmatch_cli.background.fit_background`."""
        from psfmatch_cli.background import fit_background

        return fit_background(masked_image, self.config)


class DetectionTask(Task):
    """Search an exposure for sources; its subtask fits the temporary local background."""

    ConfigClass = DetectionConfig
    default_name = "selectDetection"

    def __init__(self, config: DetectionConfig | None = None, name: str | None = None, **kwargs):
        super().__init__(config, name, **kwargs)
        self.temp_local_background = BackgroundTask(
            self.config.temp_local_background, name="tempLocalBackground", parent_task=self
        )

    @timed
    def run(
        self,
        exposure: Exposure,
        background: BackgroundFit,
        *,
        threshold: float | None = None,
        psf_sigma: float | None = None,
        smooth: bool = True,
    ) -> Search:
        """Search an exposure, and record how in the metadata.

        Parameters
        ----------
        exposure : Exposure
            Not changed.
        background : BackgroundFit
            Its background.
        threshold : float, optional
            Instead of ``threshold_value`` of the settings.
        psf_sigma, smooth
            As for `psfmatch_cli.search.search`, whose errors are those of this method, too.

        Raises
        ------
        UsageError
            If the threshold is not positive.
        """
        found = self.detect_footprints(
            exposure, background, self._config_with(threshold), psf_sigma=psf_sigma, smooth=smooth
        )
        if "smoothingKernelWidth" in self.metadata:
            del self.metadata["smoothingKernelWidth"]
        for name in RECORDED if smooth else RECORDED[:-1]:
            self.metadata[name] = found.metadata[name]
        return found

    def _config_with(self, threshold: float | None) -> DetectionConfig:
        """The settings, with another threshold if one is given."""
        if threshold is None:
            return self.config
        if not 0 < threshold < float("inf"):
            raise UsageError(f"a detection threshold must be a positive number, got {threshold}")
        return self.config.model_copy(update={"threshold_value": float(threshold)})

    @timed
    def detect_footprints(
        self,
        exposure: Exposure,
        background: BackgroundFit,
        config: DetectionConfig,
        *,
        psf_sigma: float | None = None,
        smooth: bool = True,
    ) -> Search:
        """Footprints and peaks by the settings given; parameters and errors as `psfmatch_cli.search.search`."""
        from psfmatch_cli.search import search

        return search(
            exposure,
            background,
            config,
            psf_sigma=psf_sigma,
            smooth=smooth,
            fit_local=self.temp_local_background.run,
        )


class MeasurementTask(Task):
    """Measure what was found."""

    default_name = "selectMeasurement"

    def run(self, exposure: Exposure, found: Search, *, shapes: bool = True) -> Table:
        """Source table, with the columns of `psfmatch_cli.measure`, of what a search of the exposure found.

        Without `shapes` only the columns of positions, fluxes and peaks.
        """
        from psfmatch_cli.measure import measure_sources

        return measure_sources(exposure, found, shapes=shapes)
