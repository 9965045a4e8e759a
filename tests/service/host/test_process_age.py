"""The age of the process, compared with what another library reads from the operating system."""

from __future__ import annotations

import time

import psutil
import pytest

from service.host.process_age import process_age


def test_the_age_counts_from_the_start_of_the_process() -> None:
    assert process_age() == pytest.approx(time.time() - psutil.Process().create_time(), abs=2)


def test_the_age_grows_with_time() -> None:
    assert process_age() < process_age()
