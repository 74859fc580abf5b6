"""Whether enough candidates hold the spatial model, and what is said about it."""

import logging
from dataclasses import replace

import pytest

from made_pairs import known_kernel, make_pair, small_basis, star_grid
from psfmatch_cli.candidates import select_candidates
from psfmatch_cli.config import CandidateConfig, KernelConfig
from psfmatch_cli.diagnostics import Constraint, Diagnosis, diagnose, report
from psfmatch_cli.errors import IllConditionedError, SingularSystemError, UnderconstrainedError
from psfmatch_cli.match import match
from psfmatch_cli.pool import CandidatePool

SHAPE = (256, 256)


def diagnosis(n_good: int = 20, n_bad: int = 0, terms=(3, 3), condition: float = 1e6, solver="cholesky") -> Diagnosis:
    kernel, background = (Constraint(what, n_good, n) for what, n in zip(("kernel", "background"), terms, strict=True))
    return Diagnosis(kernel, background, n_good + n_bad, n_bad, n_good, 1.25, condition, 1e10, solver)


@pytest.fixture
def told(caplog):
    """Function that returns the lines of a report with their levels."""

    def tell(made: Diagnosis, **options) -> list[tuple[str, str]]:
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="psfmatch_cli.diagnostics"):
            report(made, **options)
        return [(record.levelname, record.getMessage()) for record in caplog.records]

    return tell


@pytest.mark.parametrize(
    ("n_good", "n_terms", "state"),
    [
        (2, 3, "underconstrained"),
        (3, 3, "poorly constrained"),
        (6, 3, "poorly constrained"),
        (7, 3, "fine"),
        (1, 1, "poorly constrained"),
        (3, 1, "fine"),
        (1, 0, "fine"),
        (0, 1, "underconstrained"),
    ],
)
def test_states_of_a_model(n_good, n_terms, state):
    assert Constraint("kernel", n_good, n_terms).state == state


def test_a_good_match_is_told_quietly(told):
    assert told(diagnosis()) == [
        ("INFO", "kernel sum 1.250, condition number 1e+06"),
        ("INFO", "20 kernel candidates: 20 good, 0 bad"),
        ("INFO", "the kernel is fine: 20 good candidates for 3 spatial terms"),
        ("INFO", "the background is fine: 20 good candidates for 3 spatial terms"),
    ]


def test_a_model_that_is_not_fitted_is_told_so(told):
    assert ("INFO", "the candidates fit no spatial model of the background") in told(diagnosis(terms=(3, 0)))


def test_each_model_is_judged_by_its_own_terms(told):
    lines = told(diagnosis(n_good=5, terms=(6, 1)))
    advice = "; lower its spatial order, or give more sources"
    assert ("WARNING", f"the kernel is underconstrained: 5 good candidates for 6 spatial terms{advice}") in lines
    assert ("INFO", "the background is fine: 5 good candidates for 1 spatial term") in lines
    lines = told(diagnosis(n_good=5, terms=(1, 3)))
    assert ("WARNING", "the background is poorly constrained: 5 good candidates for 3 spatial terms") in lines


@pytest.mark.parametrize(("n_bad", "level"), [(40, "INFO"), (41, "WARNING")])
def test_more_than_two_bad_for_a_good_one_are_warned_of(n_bad, level, told):
    (line,) = [line for line in told(diagnosis(n_bad=n_bad)) if "kernel candidates:" in line[1]]
    assert line[0] == level
    assert line[1].startswith(f"{20 + n_bad} kernel candidates: 20 good, {n_bad} bad")


@pytest.mark.parametrize(
    ("condition", "text"), [(2e10, "condition number 2e+10, the limit is 1e+10"), (-5.0, "condition number -5 is neg")]
)
def test_a_bad_condition_is_warned_of(condition, text, told):
    warnings = [line for level, line in told(diagnosis(condition=condition)) if level == "WARNING"]
    assert len(warnings) == 1
    assert "the spatial system is badly conditioned: " + text in warnings[0]


def test_a_rank_deficient_solution_is_warned_of(told):
    warnings = [line for level, line in told(diagnosis(solver="eigen")) if level == "WARNING"]
    assert len(warnings) == 1
    assert "rank deficient" in warnings[0]


@pytest.mark.parametrize(
    ("made", "kind", "match"),
    [
        (diagnosis(n_good=2), UnderconstrainedError, "the kernel is underconstrained: 2 good candidates for 3"),
        (diagnosis(n_good=2, terms=(1, 3)), UnderconstrainedError, "the background is underconstrained: 2 good"),
        (diagnosis(solver="eigen"), SingularSystemError, "the spatial system is singular"),
        (diagnosis(condition=3e10), IllConditionedError, r"condition number 3e\+10, the limit is 1e\+10"),
        (diagnosis(condition=-1.0), IllConditionedError, "condition number -1 is negative"),
    ],
)
def test_strict_makes_them_errors(made, kind, match):
    with pytest.raises(kind, match=match) as caught:
        report(made, strict=True)
    assert caught.value.exit_code == 3


def test_strict_lets_the_rest_pass(told):
    assert [level for level, _ in told(diagnosis(n_good=4, n_bad=9), strict=True)].count("WARNING") == 3


def test_a_match_is_diagnosed_from_its_own_numbers(told):
    stars = star_grid(SHAPE)
    pair = make_pair(known_kernel(0, SHAPE), stars, noise=5.0)
    config, basis = KernelConfig(n_star_per_cell=2), small_basis()
    candidates = select_candidates(
        stars, pair.template, pair.science, CandidateConfig(), config, kernel_size=basis.size, n_parameters=10
    )
    pool = CandidatePool(candidates, pair.template, pair.science, basis, config, True, (0.0, 0.0))
    fit = match(pool, 1, 2)
    made = diagnose(fit, 1e10)
    # Two in each of four cells, for a kernel of order 1 and a background of order 2.
    assert (made.n_good, made.n_bad, made.n_total) == (8, fit.n_rejected, len(candidates))
    assert (made.kernel.n_terms, made.background.n_terms) == (3, 6)
    assert (made.kernel.state, made.background.state) == ("fine", "poorly constrained")
    assert (made.kernel_sum, made.condition_number) == (fit.kernel.center_sum, fit.condition_number)
    limit = 0.5 * fit.condition_number
    assert any("badly conditioned" in line for level, line in told(diagnose(fit, limit)) if level == "WARNING")
    own_constants = diagnose(match(replace_pool(pool), 1, None), 1e10)
    assert (own_constants.background.n_terms, own_constants.background.state) == (0, "fine")


def replace_pool(pool: CandidatePool) -> CandidatePool:
    """The pool as it was before a match."""
    table = pool.candidates.table.copy()
    table["status"] = "unused"
    table["reason"] = ""
    candidates = replace(pool.candidates, table=table)
    return CandidatePool(
        candidates, pool.template, pool.science, pool.basis, pool.config, pool.convolve_template, pool.levels
    )
