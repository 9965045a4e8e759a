"""``deploy/haproxy.cfg`` and its document: paths, limits and times are those of the service, and of each other.

The real HAProxy runs the file in ``tests/behaviour/test_haproxy.py`` and ``tests/e2e/test_replicas.py``.
"""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry

from metrics.request_labels import PICTURE_ROUTES
from service.app import create_app
from service.http.body import MULTIPART_OVERHEAD
from service.http.platforms import ALIASES
from service.http.removebg.contract import MAX_PICTURE_BYTES
from service.http.removebg.reading import encoded_limit
from service.settings import Settings
from tests.support.programs import ROOT
from tests.support.scripted_engine import ScriptedEngine

CONFIG = (ROOT / "deploy" / "haproxy.cfg").read_text()
DOCUMENT = (ROOT / "docs" / "haproxy.md").read_text()
DEFAULTS = Settings()


def numbers(pattern: str) -> list[float]:
    return [float(number) for number in re.findall(pattern, CONFIG)]


def with_aliases(*paths: str) -> set[str]:
    return {*paths, *(alias for alias, path in ALIASES.items() if path in paths)}


def test_every_path_is_a_path_of_the_service() -> None:
    app = create_app(DEFAULTS, engine=ScriptedEngine(), registry=CollectorRegistry())
    named = {path for paths in re.findall(r"\bpath((?: /[\w./]+)+)", CONFIG) for path in paths.split()}
    assert named
    assert named <= {resource.canonical for resource in app.router.resources()}


def test_pictures_are_what_the_service_cuts_out_and_the_operators_paths_are_closed() -> None:
    [pictures] = re.findall(r"acl picture path (.+)", CONFIG)
    assert set(pictures.split()) == with_aliases(*PICTURE_ROUTES)
    [exact, below] = re.findall(r"deny_status 404 if \{ path ([^}]+) \} or \{ path_beg ([^}]+) \}", CONFIG)[0]
    operators = with_aliases("/metrics", "/livez", "/readyz")
    assert {path for path in operators if not path.startswith(below)} == set(exact.split())


def test_it_waits_as_long_as_the_service_and_lets_its_largest_bodies_in() -> None:
    waits = numbers(r"timeout server (\d+)s")
    assert waits
    assert min(waits) > DEFAULTS.request_timeout  # from the end of the body on
    assert numbers(r"wait-for-body time (\d+)s") == [DEFAULTS.read_timeout]
    of_contracts, of_all = numbers(r"req\.body_size gt (\d{7,})")
    assert of_contracts == DEFAULTS.max_upload_bytes + MULTIPART_OVERHEAD
    assert of_all == encoded_limit(MAX_PICTURE_BYTES) + MAX_PICTURE_BYTES


@pytest.mark.parametrize(
    "words",
    [
        *re.findall(r"`((?:inter|tune|timeout)[^`]*\d\w*)`", DOCUMENT),
        "maxconn 4000",
        "sc0_conn_cur gt 100",
        "sc0_gpc0_rate gt 60",
        "sc1_conn_cur(pictures) gt 128",
        "req.hdrs,length gt 16384",
        "status 400 401 403 404 405 413 415",
    ],
)
def test_what_the_document_says_of_the_configuration_stands_there(words: str) -> None:
    compared = {"timeout check 1s"}  # with what is shipped
    assert (words in CONFIG) is (words not in compared)


def test_the_times_in_which_a_replica_counts_as_down_follow_from_the_checks() -> None:
    [(first, again, falls)] = re.findall(r"inter (\d+)ms fastinter (\d+)ms fall (\d)", CONFIG)
    [check] = numbers(r"timeout check (\d+)s")
    refused = (int(first) + (int(falls) - 1) * int(again)) / 1000
    assert f"after {refused:.1f} s" in DOCUMENT
    assert f"after {refused + int(falls) * check:.1f} s, when" in DOCUMENT
