import subprocess
import sys
from pathlib import Path

import pytest

from appraise.datasets.memory import available_memory, check_fits, readable_size
from appraise.errors import DataError

GIB = 1 << 30


def machine(tmp_path: Path, *, available_kib: int, group: str = "0::/") -> Path:
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {available_kib} kB\n")
    (proc / "self" / "cgroup").write_text(group + "\n")
    return proc


def test_the_machine_says_what_is_free(tmp_path):
    proc = machine(tmp_path, available_kib=4 << 20)
    assert available_memory(proc=proc, cgroups=tmp_path / "none") == 4 * GIB


def test_a_container_leaves_its_limit_less_what_is_used_but_for_file_pages(tmp_path):
    proc = machine(tmp_path, available_kib=4 << 20, group="0::/pod/box")
    box = tmp_path / "cgroup" / "pod" / "box"
    box.mkdir(parents=True)
    (box / "memory.max").write_text(f"{2 * GIB}\n")
    (box / "memory.current").write_text(f"{3 * GIB // 2}\n")
    (box / "memory.stat").write_text(f"anon 1\ninactive_file {GIB // 4}\n")
    assert available_memory(proc=proc, cgroups=tmp_path / "cgroup") == GIB // 2 + GIB // 4
    (box.parent / "memory.max").write_text(f"{GIB}\n")
    (box.parent / "memory.current").write_text(f"{GIB}\n")
    assert available_memory(proc=proc, cgroups=tmp_path / "cgroup") == 0
    (box.parent / "memory.max").write_text("max\n")
    assert available_memory(proc=proc, cgroups=tmp_path / "cgroup") == GIB // 2 + GIB // 4


def test_the_old_kind_of_control_group(tmp_path):
    proc = machine(tmp_path, available_kib=4 << 20, group="4:cpu,memory:/box")
    box = tmp_path / "cgroup" / "memory" / "box"
    box.mkdir(parents=True)
    (box / "memory.limit_in_bytes").write_text(f"{GIB}")
    (box / "memory.usage_in_bytes").write_text(f"{GIB // 4}")
    assert available_memory(proc=proc, cgroups=tmp_path / "cgroup") == 3 * GIB // 4


def test_a_limit_of_the_address_space_counts():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, resource.RLIM_INFINITY))\n"
        "from appraise.datasets.memory import available_memory; print(available_memory())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(result.stdout) < 3 * GIB


def test_this_machine_has_some():
    assert available_memory() > 0


def test_what_fits_passes():
    check_fits(10, limit=10, what="sales.csv")


def test_what_does_not_fit_is_refused_with_both_sizes():
    with pytest.raises(DataError, match=r"sales.csv takes about 2.0 GiB .* 512 MiB is allowed") as caught:
        check_fits(2 * GIB, limit=GIB // 2, what="sales.csv")
    assert "raise APPRAISE_MEMORY_LIMIT" in caught.value.hint
    with pytest.raises(DataError, match="is available") as caught:
        check_fits(10**18, limit=None, what="sales.csv")
    assert "more memory" in caught.value.hint


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (20 << 20, "20 MiB"), (5 << 50, "5120 TiB")])
def test_sizes_are_readable(size, text):
    assert readable_size(size) == text
