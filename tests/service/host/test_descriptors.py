"""The limit of open files, in processes of their own."""

from __future__ import annotations

import resource
import subprocess
import sys

from service.host.descriptors import descriptor_limit
from tests.support.programs import ROOT


def test_the_limit_is_the_soft_one() -> None:
    assert descriptor_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    script = (
        "import resource as r; from service.host.descriptors import *\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (100, 200)); raise_descriptor_limit(); print(descriptor_limit())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "200\n"
