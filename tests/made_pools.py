"""Pools of kernel candidates of made pairs."""

from __future__ import annotations

from made_pairs import MadePair, small_basis
from psfmatch_cli.basis import KernelBasis
from psfmatch_cli.candidates import select_candidates
from psfmatch_cli.config import CandidateConfig, KernelConfig
from psfmatch_cli.pool import CandidatePool


def pool_of(
    pair: MadePair,
    *,
    basis: KernelBasis | None = None,
    rows=slice(None),
    levels: tuple[float, float] = (0.0, 0.0),
    core_radius: int = 4,
    regularizer=None,
    **config,
) -> CandidatePool:
    """Pool of the pair's stars (those of the given rows only) for a basis, by default the small one."""
    kernel, basis = KernelConfig(**config), small_basis() if basis is None else basis
    candidates = select_candidates(
        pair.sources[rows],
        pair.template,
        pair.science,
        CandidateConfig(core_radius=core_radius),
        kernel,
        kernel_size=basis.size,
        n_parameters=min(len(basis) + 1, basis.size**2 // 4),
    )
    return CandidatePool(candidates, pair.template, pair.science, basis, kernel, True, levels, regularizer=regularizer)
