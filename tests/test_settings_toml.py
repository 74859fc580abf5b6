"""The complete settings file."""

import tomllib

from psfmatch_cli.setting_keys import keys
from psfmatch_cli.settings import Settings, settings_from
from psfmatch_cli.settings_reference import settings_reference
from psfmatch_cli.settings_toml import WIDTH, to_toml


def blocks(text):
    """Comment and value of each setting, by key."""
    group, found = "", {}
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("["):
            group = f"{lines[0].strip('[]')}."
        comment = " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
        for line in lines:
            if " = " in line and not line.startswith("#"):
                name, _, value = line.partition(" = ")
                found[group + name] = (comment, value)
    return found


def test_every_setting_has_its_help_range_and_default_above_it():
    found = blocks(to_toml(settings_from({"kernel.spatial_kernel_order": 1})))
    assert list(found) == keys()
    for row in settings_reference():
        comment, _ = found[row.key]
        assert comment.startswith(f"{row.help} [")
        assert (row.allowed or row.type) in comment
        assert "; default: " in comment
    comment, value = found["kernel.spatial_kernel_order"]
    assert (comment.partition("; default: ")[2], value) == ("none]", "1")


def test_it_is_toml_of_lines_that_fit():
    text = to_toml(Settings())
    assert tomllib.loads(text)["detection"]["background"]["bin_size"] == 128
    assert max(len(line) for line in text.splitlines() if line.startswith("#")) <= WIDTH
