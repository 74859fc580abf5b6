"""The verdict of numbers, and the limits that it goes by."""

import pytest

from psfmatch_cli.config import QualityConfig
from psfmatch_cli.errors import UsageError
from psfmatch_cli.quality_verdict import LIMITS, Verdict, verdict
from psfmatch_cli.settings import settings_from

LIMIT = QualityConfig()


def test_every_limit_is_a_setting_and_every_setting_a_limit():
    settings = {name for name in QualityConfig.model_fields if name.endswith(("_doubtful", "_bad"))}
    named = {f"{limit}_{level}" for _, _, limit in LIMITS for level in ("doubtful", "bad")}
    assert settings <= named
    assert all({f"{limit}_doubtful", f"{limit}_bad"} & settings for _, _, limit in LIMITS)


def test_nothing_beyond_a_limit_is_good():
    assert verdict({"star_residual": LIMIT.star_residual_doubtful, "kernel_shift": float("nan")}, LIMIT) == Verdict(
        "good"
    )
    assert str(Verdict("good")) == "good"


@pytest.mark.parametrize(("name", "text", "limit"), LIMITS)
@pytest.mark.parametrize("level", ["doubtful", "bad"])
def test_each_number_decides_beyond_its_limit(name, text, limit, level):
    largest = getattr(LIMIT, f"{limit}_{level}", None)
    if largest is None:
        pytest.skip("this number has one limit")
    for sign in (1, -1):
        found = verdict({name: sign * 1.001 * largest}, LIMIT)
        assert found.level == level
        assert found.reasons == (f"{text.format(1.001 * largest)}, {level} above {largest:g}",)


def test_the_worst_comes_first_and_stands_in_capitals():
    found = verdict({"kernel_shift": 9.0, "star_residual": 0.9}, LIMIT, ("no star",))
    assert found.level == "bad"
    assert [reason.partition(" ")[0] for reason in found.reasons] == ["candidates", "kernel", "no"]
    assert str(found).startswith("BAD (candidates of the kernel leave 90.0% of their light, bad above 0.1; ")
    assert str(verdict({}, LIMIT, ("no star",))) == "doubtful (no star)"


def test_bad_must_not_come_before_doubtful():
    with pytest.raises(UsageError, match=r"star_residual_bad must be at least star_residual_doubtful, which is 0\.3"):
        settings_from({"quality.star_residual_doubtful": 0.3})
