"""The package's configuration, as it is installed."""

from __future__ import annotations

import pytest

from service.engines.package_config import mode_config


def test_the_settings_of_each_mode_are_the_packages_own() -> None:
    base, nightly = mode_config("base"), mode_config("base-nightly")
    assert base.base_size == (1024, 1024)
    assert mode_config("fast").base_size == (384, 384)
    assert base.md5 is not None
    assert nightly.md5 is None
    assert base.url.endswith(base.ckpt_name)


def test_a_mode_that_the_package_does_not_have_is_refused() -> None:
    with pytest.raises(KeyError):
        mode_config("slow")
