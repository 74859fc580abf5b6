"""The reference of all settings."""

from psfmatch_cli.setting_keys import fields, keys
from psfmatch_cli.settings_reference import settings_reference, upstream_text, without_counterpart
from psfmatch_cli.upstream import UPSTREAM, VERSIONS

ROWS = {row.key: row for row in settings_reference()}


def test_there_is_a_row_for_every_setting_with_what_it_is():
    assert list(ROWS) == keys()
    row = ROWS["kernel.spatial_kernel_order"]
    assert (row.type, row.allowed, row.default) == ("integer, or none", "0 to 20, or none", None)
    assert row.help == fields()["kernel.spatial_kernel_order"].description
    assert row.variable == "PSFMATCH_KERNEL_SPATIAL_KERNEL_ORDER"
    assert row.upstream_names == ("AL.spatialKernelOrder", "DF.spatialKernelOrder")
    assert (row.upstream_default(), row.upstream_default("head")) == ("2", "1")
    assert row.note == "none: candidates that are left out of the fit choose it"


def test_defaults_of_the_two_sets_of_upstream_are_told_apart():
    assert ROWS["kernel.max_condition_number"].upstream_default() == "AL 5e+07, DF 5e+06"
    assert ROWS["kernel.use_pca_for_spatial_kernel"].upstream_default() == "AL false, DF true"


def test_a_setting_without_upstream_says_what_upstream_does():
    row = ROWS["kernel.wing_gaussian"]
    assert (row.upstream, row.upstream_default(), row.note) == ((), "", "upstream has no such Gaussian")
    assert row.differs()


def test_a_version_without_the_setting_has_no_default_for_it():
    row = ROWS["kernel.max_candidates"]
    assert (row.upstream_default("v23"), row.upstream_default("head")) == ("", "1000")


def test_which_defaults_differ_follows_from_the_table():
    # The same in effect: absent means upstream's rule.
    assert not ROWS["kernel.max_condition_number"].differs()
    assert not ROWS["kernel.alard_deg_gauss"].differs()
    assert [ROWS["kernel.n_star_per_cell"].differs(version) for version in VERSIONS] == [True, False]
    assert ROWS["detection.exclude_mask_planes"].differs()


def test_every_setting_of_upstream_is_in_a_row_or_without_counterpart():
    in_rows = [field for row in ROWS.values() for field in row.upstream]
    assert len(in_rows) + len(without_counterpart()) == len(UPSTREAM)
    assert set(in_rows) | set(without_counterpart()) == set(UPSTREAM)
    texts = {field.name: upstream_text(field) for field in without_counterpart()}
    assert texts["warpingConfig.cacheSize"] == "1000000"
    assert texts["subtract.mode"] == ""
