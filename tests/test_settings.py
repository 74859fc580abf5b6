"""Settings from defaults, files and assignments."""

import pytest

from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.settings import Settings, keys, load_settings, settings_from, to_toml, value_of


def test_defaults_without_any_source():
    assert load_settings() == Settings()


def test_later_sources_win(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("[detection]\nthreshold_value = 5\nmin_pixels = 3\nn_sigma_to_grow = 1.0\n")
    made = load_settings(
        file, ["detection.min_pixels=4", "detection.threshold_value=6"], {"detection.threshold_value": 7}
    )
    assert (made.detection.threshold_value, made.detection.min_pixels, made.detection.n_sigma_to_grow) == (7, 4, 1)


@pytest.mark.parametrize("key", ["detection.threshold_value", "detection.thresholdValue"])
def test_both_spellings_are_understood(key, tmp_path):
    assert load_settings(None, [f"{key}=6.5"]).detection.threshold_value == 6.5
    file = tmp_path / "a.toml"
    file.write_text(f"{key} = 6.5\n")
    assert load_settings(file).detection.threshold_value == 6.5


def test_texts_become_the_type_of_the_setting():
    made = load_settings(
        None,
        [
            "detection.stats_mask=SAT, BAD",
            'candidates.bad_mask_planes=["EDGE"]',
            "detection.threshold_type=stdev",
            "kernel.spatial_kernel_order=auto",
            "detection.background.weighting=false",
        ],
    )
    assert made.detection.stats_mask == ["SAT", "BAD"]
    assert made.candidates.bad_mask_planes == ["EDGE"]
    assert made.detection.threshold_type == "stdev"
    assert made.kernel.spatial_kernel_order is None
    assert made.detection.background.weighting is False


def test_a_file_of_all_settings_gives_the_same_settings(tmp_path):
    given = settings_from({"detection.threshold_value": 6.5, "kernel.spatial_kernel_order": 1, "warp.interp_length": 0})
    file = tmp_path / "all.toml"
    file.write_text(to_toml(given))
    assert load_settings(file) == given
    assert all(f"{key.rpartition('.')[2]} = " in file.read_text() for key in keys())


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("detection.treshold_value", "did you mean detection.threshold_value"),
        ("thresholdValue", "did you mean detection.threshold_value"),
        ("detection.binSize", "detection.background.bin_size"),
        ("qqqqqq", "--dump-config"),
        ("detection", "unknown setting"),
    ],
)
def test_an_unknown_setting_names_those_alike(key, expected):
    with pytest.raises(UsageError, match=expected):
        load_settings(None, [f"{key}=1"])


def test_an_unknown_setting_in_a_file_names_the_file(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("[detection]\nthreshold = 5\n")
    with pytest.raises(UsageError, match=r"unknown setting 'detection.threshold' in .*a\.toml; did you mean"):
        load_settings(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("detection.threshold_value=-1", "detection.threshold_value = -1 is refused: input should be greater than 0"),
        ("detection.threshold_value=abc", "'abc' is refused"),
        ("warp.warping_kernel_name=nearest", "'nearest' is refused: input should be 'bilinear', 'bicubic'"),
        ("detection.threshold_value", "KEY=VALUE"),
    ],
)
def test_a_bad_value_is_refused_with_its_rule(text, expected):
    with pytest.raises(UsageError, match=expected):
        load_settings(None, [text])


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the settings file .*missing\.toml: No such file"):
        load_settings(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_text("a = = b")
    with pytest.raises(InputError, match="is not TOML"):
        load_settings(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not TOML"):
        load_settings(tmp_path / "binary.toml")


def test_a_setting_can_be_absent_only_by_default():
    # The run record leaves absent settings out, so their default has to be absent too.
    settings = Settings()
    for key in keys():
        annotation_allows_none = _accepts_none(key)
        assert not annotation_allows_none or value_of(settings, key) is None, key


def _accepts_none(key):
    try:
        settings_from({key: None})
    except UsageError:
        return False
    return True
