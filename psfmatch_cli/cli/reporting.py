"""The page of a run that has its images still in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psfmatch_cli.cli.run import Run
    from psfmatch_cli.cli.work import Matched


def write_report(run: Run, path: Path, made: Matched) -> None:
    """Write the page of a subtraction.

    Parameters
    ----------
    run : Run
        In the block that writes its products: the record on the page is that of this moment.
    path : Path
    made : Matched
        With the science exposure and a difference.
    """
    from psfmatch_cli.report.page import make_page
    from psfmatch_cli.report.subject import Subject, described

    result = made.result
    images = {
        "template": result.warped_exposure,
        "science": made.science,
        "matched": result.matched_exposure,
    }
    subject = Subject(
        run.outputs["difference"].name,
        result.subtracted_exposure.masked_image,
        {role: exposure.masked_image.image for role, exposure in images.items()},
        {role: described(run.inputs[role].name, images[role].header or {}) for role in ("template", "science")},
        run.record.document(run.ending),
        result.psf_matching_kernel,
        result.background_model,
        result.kernel_cell_set.table,
        made.sources,
    )
    path.write_text(make_page(subject), "utf-8")
