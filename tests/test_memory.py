import resource

import pytest

from psfmatch_cli import memory
from psfmatch_cli.errors import UsageError
from psfmatch_cli.memory import available_memory, describe_size, needed_memory, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1000),
        ("8GB", 8_000_000_000),
        ("8 gb", 8_000_000_000),
        ("512MiB", 512 * 2**20),
        ("1.5K", 1500),
        ("2T", 2 * 10**12),
        ("1e9", 10**9),
    ],
)
def test_sizes_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "8 giga", "8iB", "nan", "8 G B", "1e999"])
def test_other_texts_are_no_sizes(text):
    with pytest.raises(UsageError, match="a size of memory is given as 8GB, 512MiB or in bytes"):
        parse_size(text)


def test_no_memory_is_no_size():
    with pytest.raises(UsageError, match="must be positive"):
        parse_size("0 GB")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (3_213_000_000, "3.21 GB"), (5e15, "5e+03 TB")]
)
def test_sizes_are_told_with_three_digits(size, text):
    assert describe_size(size) == text


def test_there_is_memory_for_this_test():
    assert available_memory() > 10_000_000


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine of which nothing is known yet: folders in place of /proc and /sys/fs/cgroup."""
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "cgroup" / "memory").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    return tmp_path


def test_the_smallest_limit_counts(system, monkeypatch):
    assert available_memory() == 5000 * 1024
    (system / "cgroup" / "memory.max").write_text("3000000\n")
    (system / "cgroup" / "memory.current").write_text("1000000\n")
    assert available_memory() == 2000000
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (4_000_000, 4_000_000))
    (system / "proc" / "self" / "status").write_text("VmSize: 3000 kB\n")
    assert available_memory() == 4_000_000 - 3000 * 1024


def test_the_older_control_group_and_one_without_a_limit(system):
    (system / "cgroup" / "memory.max").write_text("max\n")
    (system / "cgroup" / "memory.current").write_text("1000000\n")
    assert available_memory() == 5000 * 1024
    (system / "cgroup" / "memory" / "memory.limit_in_bytes").write_text("1500000\n")
    (system / "cgroup" / "memory" / "memory.usage_in_bytes").write_text("1000000\n")
    assert available_memory() == 500000


def test_a_limit_that_is_exceeded_leaves_nothing(system):
    (system / "cgroup" / "memory.max").write_text("1000\n")
    (system / "cgroup" / "memory.current").write_text("2000\n")
    assert available_memory() == 0


def test_files_kept_in_memory_count_as_free(system):
    (system / "cgroup" / "memory.max").write_text("3000000\n")
    (system / "cgroup" / "memory.current").write_text("2900000\n")
    (system / "cgroup" / "memory.stat").write_text("anon 1000\ninactive_file 900000\nactive_file 5000\n")
    assert available_memory() == 1_000_000


def test_the_groups_above_the_own_one_count(system):
    group = system / "cgroup" / "user.slice" / "session"
    group.mkdir(parents=True)
    (system / "proc" / "self" / "cgroup").write_text("0::/user.slice/session\n")
    for folder, most in ((group, "max"), (group.parent, "2000000")):
        (folder / "memory.max").write_text(most)
        (folder / "memory.current").write_text("500000")
    assert available_memory() == 1_500_000


def test_the_need_grows_with_the_image_and_with_many_unknowns():
    small, large = needed_memory(512**2), needed_memory(2048**2)
    assert small < large < 16 * small
    assert needed_memory(512**2, 441, 100) > small + 8 * 100 * 441**2
