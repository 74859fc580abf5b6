"""The quality of a difference as items of the summary and of the record."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from psfmatch_cli.quality import Quality


def summary_items(quality: Quality) -> dict[str, object]:
    """The verdict and the numbers that matter most, for the summary; None for what is not known."""
    names: Mapping[str, str] = {
        "star_residual": "star_residual",
        "star_chi2": "star_chi2",
        "quality_ratio": "ratio_mean",
        "noise_autocorrelation": "autocorrelation",
        "kernel_sum_range": "kernel_sum_range",
    }
    known = {name: quality.numbers[number] for name, number in names.items()}
    return {
        "quality": quality.verdict.level,
        "quality_reasons": list(quality.verdict.reasons),
        **{name: value if np.isfinite(value) else None for name, value in known.items()},
        "n_positive": None if quality.sources is None else quality.sources.n_positive,
        "n_negative": None if quality.sources is None else quality.sources.n_negative,
    }


def metadata_items(quality: Quality) -> dict[str, object]:
    """Everything, for the record."""
    sources = {} if quality.sources is None else quality.sources.items()
    return {
        "verdict": quality.verdict.level,
        "reasons": list(quality.verdict.reasons),
        **{_camel(name): value for name, value in {**quality.numbers, **sources}.items()},
        "cells": {_camel(name): array.tolist() for name, array in vars(quality.cells).items()},
    }


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
