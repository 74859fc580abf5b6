"""From the numbers of a difference to a verdict: good, doubtful or bad, with the reasons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from psfmatch_cli.config import QualityConfig

Level = Literal["good", "doubtful", "bad"]

#: Levels, the best first.
LEVELS: tuple[Level, ...] = ("good", "doubtful", "bad")
#: Number, what it is, beginning of the names of its limits.
LIMITS = (
    ("sky_width_factor", "sky is {:.2f} times off the predicted noise", "sky_width"),
    ("star_residual", "candidates of the kernel leave {:.1%} of their light", "star_residual"),
    ("held_out_residual", "stars kept out of the fit leave {:.1%} of their light", "star_residual"),
    ("spoiled_fraction", "{:.1%} of the bright candidates leave more than 15 % of their light", "spoiled"),
    ("worst_cell_residual", "stars in a cell leave {:.1%} of their light", "cell_residual"),
    ("flux_residual", "{:.1%} of the stars' flux is left", "flux_residual"),
    ("ratio_mean", "residual over light of the candidates is {:.2f}", "ratio_mean"),
    ("ratio_std", "residual over light of the candidates scatters by {:.2f}", "ratio_std"),
    ("largest_sky_mean", "sky is off zero by {:.2f} sigma in a cell", "sky_mean"),
    ("kernel_sum_range", "kernel sum varies by {:.1%} over the field", "kernel_range"),
    ("kernel_sum_scatter", "kernel sums of single candidates scatter by {:.1%}", "kernel_scatter"),
    ("kernel_shift", "kernel shifts the image by {:.2f} pixels", "kernel_shift"),
    ("calibration_deviation", "kernel sum is {:.1%} off the zero points' ratio", "calibration"),
    ("white_autocorrelation", "noise is correlated by {:.3f} after it was made white", "autocorrelation"),
    ("masked_fraction", "{:.0%} of the pixels are not usable", "masked"),
    ("source_ratio", "difference has {:.2f} times as many sources as the science image", "sources"),
)


@dataclass(frozen=True)
class Verdict:
    """A verdict and why.

    Parameters
    ----------
    level : {'good', 'doubtful', 'bad'}
    reasons : tuple of str
        What is beyond a limit, the worst first; empty for good.
    """

    level: Level
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        """``good``, or the level with its reasons; BAD in capitals, lest it be overlooked."""
        if not self.reasons:
            return self.level
        word = "BAD" if self.level == "bad" else self.level
        return f"{word} ({'; '.join(self.reasons)})"


def verdict(numbers: Mapping[str, float], config: QualityConfig, problems: tuple[str, ...] = ()) -> Verdict:
    """Verdict on a difference.

    Parameters
    ----------
    numbers : mapping of str to float
        As `psfmatch_cli.quality` makes them; one that is not known is NaN and proves nothing.
    config : QualityConfig
        The limits.
    problems : tuple of str
        What else makes the difference doubtful.
    """
    found = [*_beyond(numbers, config), *(("doubtful", text) for text in problems)]
    if not found:
        return Verdict("good")
    found.sort(key=lambda entry: -LEVELS.index(entry[0]))
    return Verdict(found[0][0], tuple(text for _, text in found))


def _beyond(numbers: Mapping[str, float], config: QualityConfig) -> Iterator[tuple[Level, str]]:
    """Level and reason of each number that is beyond a limit."""
    for name, text, limit in LIMITS:
        value = abs(numbers.get(name, math.nan))
        for level in reversed(LEVELS[1:]):
            largest = getattr(config, f"{limit}_{level}", math.inf)
            if value > largest:
                yield level, f"{text.format(value)}, {level} above {largest:g}"
                break
