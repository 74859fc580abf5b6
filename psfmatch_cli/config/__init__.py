"""Every setting once: its default, its range, its meaning.

Names are Python's spelling of the upstream task's; the upstream (camelCase) spelling is accepted too.
"""

from psfmatch_cli.config.base import Group, Planes
from psfmatch_cli.config.candidates import CandidateConfig
from psfmatch_cli.config.detection import BackgroundConfig, DetectionConfig
from psfmatch_cli.config.difference_sources import DifferenceSourceConfig
from psfmatch_cli.config.kernel import KernelConfig
from psfmatch_cli.config.quality import QualityConfig
from psfmatch_cli.config.settings import Settings
from psfmatch_cli.config.subtraction import SubtractionConfig
from psfmatch_cli.config.warp import WarpConfig

__all__ = [
    "BackgroundConfig",
    "CandidateConfig",
    "DetectionConfig",
    "DifferenceSourceConfig",
    "Group",
    "KernelConfig",
    "Planes",
    "QualityConfig",
    "Settings",
    "SubtractionConfig",
    "WarpConfig",
]
