"""Memory of a process that serves."""

import subprocess
import sys

from tests.waiting import until

from appraise.serving.rest.footprint import _clean_code, give_back

SMAPS = """\
7f0000001000-7f0000003000 r-xp 00001000 fe:00 42    /usr/lib/clean.so
Rss:                   8 kB
Anonymous:             0 kB
7f0000003000-7f0000004000 r--p 00003000 fe:00 42    /usr/lib/clean.so
Anonymous:             0 kB
7f0000004000-7f0000006000 r-xp 00000000 fe:00 43    /usr/lib/written to.so
Anonymous:             4 kB
7f0000006000-7f0000007000 r-xp 00000000 00:00 0
Anonymous:             0 kB
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0     [vdso]
Anonymous:             0 kB
"""


def test_only_code_of_files_that_nothing_was_written_to_is_let_go_of():
    assert list(_clean_code(SMAPS)) == [(0x7F0000001000, 0x7F0000003000)]


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


def test_a_service_takes_less_than_200_mb(server, row):
    for _ in range(50):
        assert server.post("/predict", json=row).status_code == 200
    # Other tests have asked this server for all that there is; what they left is given back every half a minute.
    until(lambda: server.memory() < 200e6, seconds=60)
