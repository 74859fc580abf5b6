"""Settings from all their sources, and where each came from."""

import itertools

import pytest

from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.setting_sources import in_assignments
from psfmatch_cli.settings import (
    Settings,
    complaints_of_file,
    keys,
    load_settings,
    load_with_sources,
    settings_from,
    to_toml,
    value_of,
)


@pytest.fixture
def file(tmp_path):
    """Function that writes a settings file."""

    def write(text, name="a.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_defaults_without_any_source():
    loaded = load_with_sources()
    assert loaded.settings == load_settings() == Settings()
    assert set(loaded.sources.values()) == {"default"}
    assert list(loaded.sources) == keys()
    assert loaded.preset == "default"


#: Sources from the weakest to the strongest: what gives interp_length (default 16), its value, the source's name.
SOURCES = {
    "preset": ({"preset": "v23"}, 10, "preset v23"),
    "file": ({"path": "a.toml"}, 1, "file a.toml"),
    "environment": (
        {"environment": {"PSFMATCH_WARP_INTERP_LENGTH": "2"}},
        2,
        "environment PSFMATCH_WARP_INTERP_LENGTH",
    ),
    "assignment": ({"assignments": ["warp.interp_length=9", "warp.interpLength=3"]}, 3, "option -c"),
    "option": (
        {"overrides": {"warp.interp_length": 4}, "labels": {"warp.interp_length": "option --interp"}},
        4,
        "option --interp",
    ),
}


@pytest.mark.parametrize(
    "names", [names for n in range(1, 6) for names in itertools.combinations(SOURCES, n)], ids="+".join
)
def test_the_strongest_source_wins(names, file, tmp_path, monkeypatch):
    file("[warp]\ninterp_length = 1\n")
    monkeypatch.chdir(tmp_path)
    given = {}
    for name in names:
        given |= SOURCES[name][0]
    loaded = load_with_sources(**given)
    _, value, source = SOURCES[names[-1]]
    assert (loaded.settings.warp.interp_length, loaded.sources["warp.interp_length"]) == (value, source)


def test_values_of_python_are_arguments():
    assert (
        load_with_sources(overrides={"detection.thresholdValue": 7}).sources["detection.threshold_value"] == "argument"
    )
    assert load_settings(overrides={"kernel.spatial_kernel_order": "auto"}).kernel.spatial_kernel_order is None


def test_nothing_but_what_is_given_counts(monkeypatch):
    monkeypatch.setenv("PSFMATCH_STRICT", "true")
    assert not load_settings().strict


def test_the_environment_may_name_the_file_and_a_given_one_wins(file):
    environment = {"PSFMATCH_CONFIG": str(file("threads = 2"))}
    assert load_settings(environment=environment).threads == 2
    assert load_settings(file("threads = 3", "b.toml"), environment=environment).threads == 3


@pytest.mark.parametrize("names", [n for k in range(1, 5) for n in itertools.combinations(range(4), k)], ids=str)
def test_the_preset_is_that_of_the_strongest_source(names, file):
    # A preset is weaker than any value, wherever it is named: adapt of the file wins.
    sources = (
        {"path": file('preset = "v23"\nadapt = true\n')},
        {"environment": {"PSFMATCH_PRESET": "head"}},
        {"assignments": ["preset=default"]},
        {"preset": "v23"},
    )
    given = {}
    for name in names:
        given |= sources[name]
    loaded = load_with_sources(**given)
    assert loaded.preset == ("v23", "head", "default", "v23")[names[-1]]
    expected = {"v23": 2, "head": 1, "default": None}[loaded.preset]
    assert loaded.settings.kernel.spatial_kernel_order == expected
    assert loaded.settings.adapt is (0 in names or loaded.preset == "default")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"preset": "v24"}, r"unknown preset 'v24' \(argument\); known are default, v23, head"),
        ({"environment": {"PSFMATCH_PRESET": "v24"}}, r"unknown preset 'v24' \(environment PSFMATCH_PRESET\)"),
        ({"assignments": ["preset=none"]}, r"unknown preset 'none' \(option -c\)"),
    ],
)
def test_an_unknown_preset_is_refused(given, expected):
    with pytest.raises(UsageError, match=expected):
        load_settings(**given)


#: A setting of every kind: text of the command line and of the environment, text in TOML, value.
KINDS = [
    ("threads", "2", "2", 2),
    ("adapt", "false", "false", False),
    ("detection.threshold_value", "6.5", "6.5", 6.5),
    ("detection.threshold_value", "6", "6", 6.0),
    ("detection.threshold_type", "stdev", '"stdev"', "stdev"),
    ("warp.mask_warping_kernel_name", "", '""', ""),
    ("kernel.central_regularization_stencil", "5", "5", 5),
    ("kernel.kernel_size", "21", "21", 21),
    ("kernel.kernel_size", "none", '"none"', None),
    ("kernel.spatial_kernel_order", "auto", '"auto"', None),
    ("kernel.use_pca_for_spatial_kernel", "true", "true", True),
    ("kernel.use_pca_for_spatial_kernel", "none", '"none"', None),
    ("kernel.max_condition_number", "1e6", "1e6", 1e6),
    ("detection.stats_mask", "SAT,BAD", '["SAT", "BAD"]', ["SAT", "BAD"]),
    ("detection.stats_mask", "[]", "[]", []),
    ("kernel.bad_mask_planes", "SAT", '["SAT"]', ["SAT"]),
    ("kernel.alard_deg_gauss", "4,2", "[4, 2]", [4, 2]),
    ("kernel.alard_sig_gauss", "[1, 2.5]", "[1, 2.5]", [1.0, 2.5]),
    ("kernel.forward_regularization_orders", "2", "[2]", [2]),
]


@pytest.mark.parametrize(("key", "text", "toml", "value"), KINDS)
def test_all_kinds_of_values_come_from_every_source(key, text, toml, value, file):
    made = (
        load_settings(file(f"{key} = {toml}\n")),
        load_settings(environment={f"PSFMATCH_{key.replace('.', '_').upper()}": text}),
        load_settings(None, [f"{key}={text}"]),
        load_settings(overrides={key: value}),
        settings_from({key: value}),
    )
    for each in made:
        got = value_of(each, key)
        assert (got, type(got)) == (value, type(value))


#: Wrong values: text, value in TOML, the rule.
WRONG = [
    ("threads", "0", "0", "greater than or equal to 1"),
    ("threads", "1.5", "1.5", "valid integer"),
    ("threads", "many", '"many"', "valid integer"),
    ("threads", "true", "true", "true and false are not allowed"),
    ("threads", "none", '"none"', "valid integer"),
    ("detection.threshold_type", "5", "5", "'pixel_stdev'"),
    ("detection.deblend", "2.5", "2.5", "valid boolean"),
    ("detection.deblend_contrast", "nan", "nan", "finite"),
    ("kernel.alard_deg_gauss", "4,x", '["4", "x"]', "element 2: input should be a valid integer"),
    ("kernel.kernel_size", "20", "20", "kernel_size must be odd, got 20"),
]


@pytest.mark.parametrize(("key", "text", "toml", "rule"), WRONG)
def test_a_wrong_value_is_refused_from_every_source_and_the_source_is_named(key, text, toml, rule, file):
    variable = f"PSFMATCH_{key.replace('.', '_').upper()}"
    sources = {
        "file .*a.toml": {"path": file(f"{key} = {toml}\n")},
        f"environment {variable}": {"environment": {variable: text}},
        "option -c": {"assignments": [f"{key}={text}"]},
    }
    for source, given in sources.items():
        with pytest.raises(UsageError, match=rf"^setting {key} = .* is refused: .*{rule}.* \({source}\)$"):
            load_settings(**given)


def test_a_rule_about_several_settings_names_the_one_that_was_given():
    with pytest.raises(UsageError, match=r"setting kernel.kernel_size_max = 25 is refused: .*27 is above .*option -c"):
        load_settings(None, ["kernel.kernel_size_max=25"])
    # It holds of the outcome, wherever its parts came from: v23 has three Gaussians.
    with pytest.raises(UsageError, match="alard_n_gauss is 3, but alard_deg_gauss has 2 degrees"):
        load_settings(None, ["kernel.alard_deg_gauss=4,2"], preset="v23")
    assert load_settings(None, ["kernel.alard_deg_gauss=4,2", "kernel.alard_n_gauss=none"], preset="v23")


def test_an_unknown_setting_in_a_file_names_the_file(file):
    with pytest.raises(UsageError, match=r"unknown setting 'detection.threshold' in .*a\.toml; did you mean"):
        load_settings(file("[detection]\nthreshold = 5\n"))


@pytest.mark.parametrize("preset", ["default", "v23", "head"])
def test_a_file_of_all_settings_gives_the_same_settings(preset, file):
    given = load_settings(
        None,
        ["detection.threshold_value=6.5", "kernel.spatial_kernel_order=1", "kernel.richer_deg_gauss=[]"],
        preset=preset,
    )
    assert load_settings(file(to_toml(given))) == given
    assert load_settings(str(file(to_toml(given)))) == given


def test_what_is_in_a_file_can_be_given_on_the_command_line():
    given = load_settings(preset="v23")
    assignments = [line for line in to_toml(given).splitlines() if line and line[0] not in "#["]
    assert len(assignments) == len(keys())
    texts = [f"{key}={line.partition('=')[2]}" for key, line in zip(keys(), assignments, strict=True)]
    assert [each.key for each in in_assignments(texts)] == keys()
    assert load_settings(None, texts) == given


def test_all_complaints_of_a_file(file):
    path = file('preset = "v24"\n[kernel]\nkernel_size = 20\nkernel_sise = 3\n[AL]\nlambdaValue = 1\n')
    assert complaints_of_file(path) == [
        "unknown setting 'kernel.kernel_sise'; did you mean kernel.kernel_size or kernel.kernel_basis_set?",
        "unknown setting 'AL.lambdaValue'; did you mean kernel.lambda_value?",
        f"unknown preset 'v24' (file {path}); known are default, v23, head",
        "setting kernel.kernel_size = 20 is refused: kernel_size must be odd, got 20",
    ]


def test_a_file_is_checked_on_top_of_its_preset(file):
    assert complaints_of_file(file("[kernel]\nkernel_size_max = 25\n")) == [
        "setting kernel.kernel_size_max = 25 is refused: kernel_size_min 27 is above kernel_size_max 25"
    ]
    assert complaints_of_file(file('preset = "v23"\n[kernel]\nkernel_size_max = 25\n')) == []
    with pytest.raises(InputError, match="is not TOML"):
        complaints_of_file(file("= 3"))


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
