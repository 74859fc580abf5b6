"""The groups of settings: what every one of them promises."""

import pytest
from pydantic import BaseModel, ValidationError

from psfmatch_cli.config import BackgroundConfig, DetectionConfig, KernelConfig
from psfmatch_cli.settings import Settings


def groups(model=Settings):
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from groups(field.annotation)


@pytest.mark.parametrize("group", list(groups()), ids=lambda group: group.__name__)
def test_every_setting_has_a_meaning_and_a_default_that_is_allowed(group):
    for name, field in group.model_fields.items():
        assert not field.is_required(), name
        is_group = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert is_group or (field.description and not field.description.endswith(".")), name
    assert group.model_validate(group().model_dump()) == group()


@pytest.mark.parametrize("group", list(groups()), ids=lambda group: group.__name__)
def test_settings_are_frozen_and_unknown_ones_refused(group):
    name = next(iter(group.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(group(), name, None)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        group(no_such_setting=1)


def test_the_upstream_spelling_is_accepted():
    assert DetectionConfig(thresholdValue=5).threshold_value == 5
    assert KernelConfig(alardSigGauss=[1, 2, 3]).alard_sig_gauss == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("group", "values"),
    [
        (DetectionConfig, {"threshold_value": 0}),
        (DetectionConfig, {"threshold_type": "sigma"}),
        (BackgroundConfig, {"bin_size": 0}),
        (KernelConfig, {"alard_gauss_beta": 1}),
        (KernelConfig, {"alard_min_sig": 0.2}),
        (KernelConfig, {"size_cell_x": 31}),
    ],
)
def test_values_out_of_range_are_refused(group, values):
    with pytest.raises(ValidationError, match="Input should be"):
        group(**values)


@pytest.mark.parametrize(
    ("group", "values", "expected"),
    [
        (KernelConfig, {"lambda_value": True}, "true and false are not allowed here"),
        (KernelConfig, {"alard_deg_gauss": [4, True, 2]}, "true and false are not allowed here"),
        (KernelConfig, {"alard_sig_gauss": [1.0, float("nan"), 2.0]}, "finite number"),
        (DetectionConfig, {"threshold_value": float("inf")}, "finite number"),
    ],
)
def test_truth_values_and_infinities_are_no_numbers(group, values, expected):
    with pytest.raises(ValidationError, match=expected):
        group(**values)
    assert KernelConfig(use_pca_for_spatial_kernel=True).uses_pca


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"iterate_single_kernel": True}, "iterate_single_kernel has no effect unless constant_variance_weighting"),
        ({"spatial_regularization": True}, "spatial_regularization has no effect unless kernel_basis_set"),
        (
            {"spatial_regularization": True, "kernel_basis_set": "delta-function"},
            "spatial_regularization has no effect unless .* use_pca_for_spatial_kernel is false",
        ),
        (
            {"use_bic_for_kernel_basis": True, "kernel_basis_set": "delta-function"},
            "use_bic_for_kernel_basis has no effect with",
        ),
    ],
)
def test_a_setting_without_effect_is_refused(values, expected):
    with pytest.raises(ValidationError, match=expected):
        KernelConfig(**values)
