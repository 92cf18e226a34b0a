"""Memory of a process that serves."""

import gc
import mmap
import subprocess
import sys

import numpy as np
import pytest
from tests.waiting import until

from appraise.serving.rest.footprint import _clean_pages, _constant_parts, give_back, settle, uncollected

SMAPS = """\
7f0000001000-7f0000003000 r-xp 00001000 fe:00 42    /usr/lib/clean.so
Rss:                   8 kB
Anonymous:             0 kB
7f0000003000-7f0000004000 r--p 00003000 fe:00 42    /usr/lib/clean.so
Anonymous:             0 kB
7f0000004000-7f0000005000 rw-p 00004000 fe:00 42    /usr/lib/clean.so
Anonymous:             0 kB
7f0000005000-7f0000006000 r--p 00004000 fe:00 43    /usr/lib/written to.so
Anonymous:             4 kB
7f0000006000-7f0000007000 r-xp 00000000 00:00 0
Anonymous:             0 kB
7f0000007000-7f0000010000 r--p 00000000 fe:00 44    /usr/lib/being loaded.so
Anonymous:             0 kB
7f0000010000-7f0000011000 r--s 00000000 fe:00 45    /data/prices.npy
Anonymous:             0 kB
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0     [vdso]
Anonymous:             0 kB
"""
CONSTANT = {
    "/usr/lib/clean.so": [(0x1000, 0x3000), (0x3000, 0x5000)],
    "/usr/lib/written to.so": [(0x4000, 0x8000)],
    "/usr/lib/being loaded.so": [(0, 0x2000)],
}


def test_only_what_cannot_have_been_written_to_is_let_go_of():
    pages = [(0x7F0000001000, 0x7F0000003000), (0x7F0000003000, 0x7F0000004000)]
    assert list(_clean_pages(SMAPS, lambda path: CONSTANT.get(path, []))) == pages


def test_a_library_says_what_of_it_is_constant(tmp_path):
    parts = _constant_parts(np._core._multiarray_umath.__file__)
    assert parts
    assert all(0 <= start < end and start % mmap.PAGESIZE == end % mmap.PAGESIZE == 0 for start, end in parts)
    other = tmp_path / "prices.npy"
    for content in (b"", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 200, b"\x93NUMPY" * 100):
        other.write_bytes(content)
        assert _constant_parts(str(other)) == []
    assert _constant_parts(str(tmp_path / "gone.so (deleted)")) == []


def test_a_thread_that_imports_a_library_meanwhile_is_not_in_the_way(tmp_path):
    program = (
        "import importlib.util, shutil, sys, threading, _opcode\n"
        "from appraise.serving.rest.footprint import give_back\n"
        "copies = [shutil.copy(_opcode.__file__, f'{sys.argv[1]}/{count}.so') for count in range(500)]\n"
        "def load():\n"
        "    for copy in copies:\n"
        "        importlib.util.module_from_spec(importlib.util.spec_from_file_location('_opcode', copy))\n"
        "thread = threading.Thread(target=load, daemon=True)\n"
        "thread.start()\n"
        "while thread.is_alive():\n"
        "    give_back()\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)


def test_a_process_that_let_go_of_its_code_goes_on():
    program = (
        "from appraise.serving.rest.footprint import give_back; import hashlib, json, numpy as np\n"
        "before = float(np.linalg.norm(np.arange(50.0)))\n"
        "give_back()\n"
        "assert float(np.linalg.norm(np.arange(50.0))) == before\n"
        "assert json.loads('[1]') == [1] and hashlib.sha256(b'').hexdigest().startswith('e3b0')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    give_back()


def test_what_llvm_was_needed_for_once_is_not_kept():
    program = (
        "import re; from pathlib import Path\n"
        "from appraise.serving.rest.footprint import give_back; import llvmlite.binding as llvm\n"
        "def of_files():\n"
        "    return int(re.search(r'RssFile:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
        "llvm.initialize_native_target()\n"
        "before = of_files()\n"
        "give_back()\n"
        "assert of_files() < before / 2, (before, of_files())\n"
        "llvm.parse_assembly('define i32 @one() { ret i32 1 }').verify()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_service_that_was_asked_for_all_that_there_is_takes_less_than_200_mb(serve, own_home, row):
    """What is left behind is given back every half a minute."""
    running = serve(own_home)
    pages = [
        running.get(path).status_code for path in ("/openapi.json", "/docs", "/metrics", "/batches", "/model/info")
    ]
    assert pages == [200] * 5
    assert running.get("/health/detailed").status_code == 200
    for _ in range(50):
        assert running.post("/predict?explain=true&comparables=5", json=row).status_code == 200
    for _ in range(5):
        assert running.post("/predict/batch", json={"rows": [row] * 10_000}).status_code == 200
    until(lambda: running.memory() < 200e6, seconds=60)


def test_garbage_is_collected_again_after_a_start_that_failed():
    def start() -> None:
        with uncollected():
            assert not gc.isenabled()
            raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model"):
        start()
    assert gc.isenabled()


def test_what_is_made_after_the_start_is_collected_and_nothing_before():
    try:
        with uncollected():
            settle()
            assert gc.isenabled()
            assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
