"""All settings together."""

from __future__ import annotations

import os

from pydantic import Field

from psfmatch_cli.config.base import Group
from psfmatch_cli.config.candidates import CandidateConfig
from psfmatch_cli.config.detection import DetectionConfig
from psfmatch_cli.config.difference_sources import DifferenceSourceConfig
from psfmatch_cli.config.kernel import KernelConfig
from psfmatch_cli.config.quality import QualityConfig
from psfmatch_cli.config.subtraction import SubtractionConfig
from psfmatch_cli.config.warp import WarpConfig


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(Group):
    """Every setting of psfmatch, by stage."""

    threads: int = Field(default_factory=cores, ge=1, description="threads of all stages; left out: as many as cores")
    adapt: bool = Field(
        True,
        description="with too few candidates, detect again at a lower threshold, then lower the spatial order; off: an "
        "error",
    )
    strict: bool = Field(False, description="make warnings about an under-constrained or badly conditioned fit errors")
    allow_identical: bool = Field(
        False, description="go on with two copies of one image, whose difference means nothing; off: an error"
    )
    detection: DetectionConfig = DetectionConfig()
    warp: WarpConfig = WarpConfig()
    candidates: CandidateConfig = CandidateConfig()
    kernel: KernelConfig = KernelConfig()
    subtraction: SubtractionConfig = SubtractionConfig()
    difference_sources: DifferenceSourceConfig = DifferenceSourceConfig()
    quality: QualityConfig = QualityConfig()
