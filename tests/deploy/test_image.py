"""The image: nothing that it leaves out is missed while it serves, and it needs no shell."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.support.photos import encoded
from tests.support.programs import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()

OF_NO_REQUIREMENT = {"numba", "llvmlite", "scipy", "kornia_rs", "albucore", "huggingface_hub"}
"""What the requirements of transparent-background require in turn."""

RUN_WITHOUT = """
import sys
absent = set(sys.argv.pop(1).split(","))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import os
from service.cli.commands import main
raise SystemExit(main(sys.argv[1:], os.environ))
"""


def names(requirements: Iterable[str]) -> set[str]:
    """The packages that are required, except by extras."""
    return {re.split(r"[^\w-]", line)[0].lower() for line in requirements if "extra ==" not in line}


@cache
def installed() -> set[str]:
    """The packages that the Dockerfile itself asks for, beside torch and transparent-background."""
    [program] = re.findall(r"python -c '(import tomllib.*)' ", DOCKERFILE)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return names(done.stdout.splitlines())


def left_out() -> set[str]:
    """The modules that an image does not have and a full installation has."""
    [uninstalled] = re.findall(r"pip uninstall --yes ([\w ]+)", DOCKERFILE)
    required = names(importlib.metadata.requires("transparent-background") or [])
    assert "--no-deps --no-build-isolation transparent-background" in DOCKERFILE
    absent = required - installed() | set(uninstalled.split()) | {"torchvision"} | OF_NO_REQUIREMENT
    return {name.replace("-", "_") for name in absent} - {"pip", "opencv_python"}


def test_the_image_can_send_traces_because_a_platform_may_ask_for_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    traces = names(project["optional-dependencies"]["traces"])
    assert traces <= installed()
    needed = set().union(*(names(importlib.metadata.requires(name) or []) for name in traces))
    assert {name.replace("-", "_") for name in needed} & left_out() == set()


def test_what_is_left_out_is_what_the_document_lists() -> None:
    table = (ROOT / "docs" / "image.md").read_text()
    missing = {name for name in left_out() if f"`{name}`" not in table.replace("-", "_")}
    assert missing == set()


@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["inspyrenet", "u2netp"])
def test_a_picture_is_cut_out_without_the_packages_that_the_image_leaves_out(
    engine: str, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded())
    command = ["cut", "photo.jpg", "--to", "out", "--engine", engine]
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN_WITHOUT, ",".join(left_out()), *command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "INSPYRENET_WEIGHTS": "dummy"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [file.name for file in (tmp_path / "out").glob("*.png")] == ["photo.png"]


@pytest.mark.parametrize("instruction", ["ENTRYPOINT", "HEALTHCHECK"])
def test_neither_the_service_nor_its_health_check_needs_a_shell(instruction: str) -> None:
    [line] = re.findall(rf"^{instruction} .*?(\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert json.loads(line)[:4] == ["python", "-P", "-m", "service"]


def test_bytecode_does_not_depend_on_modification_times_which_layers_round() -> None:
    compiled = re.findall(r"-m compileall .*", DOCKERFILE)
    assert len(compiled) == 3
    # Without -f, what pip has compiled would stay, and pip knows modification times only.
    assert all(" -f --invalidation-mode unchecked-hash" in command for command in compiled)


def stages() -> dict[str, str]:
    """The stages of the Dockerfile: name -> instructions. The last one, which has no name there, is ``image``."""
    parts = re.split(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, flags=re.MULTILINE)[1:]
    return {name or "image": text for _, name, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def test_the_native_library_is_compiled_in_the_only_stage_that_has_a_compiler() -> None:
    assert [name for name, text in stages().items() if re.search(r"\b(gcc|clang|apt-get)\b", text)] == [
        "native"
    ]
    assert "setup.py build_ext" in stages()["native"]
    # A compilation that failed leaves no file, which stops the build here: the extension is optional.
    assert re.search(r"&& strip .*/inspyrenet_native\.\*\.so$", stages()["native"], re.MULTILINE)
    assert "COPY --from=native /stage /\n" in stages()["image"]


def test_the_native_library_is_compiled_anew_only_for_its_own_files() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", stages()["native"], re.MULTILINE)
    assert copied == ["constraints.txt", "setup.py", "service/native/*.c service/native/*.h"]
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    assert {"!constraints.txt", "!setup.py", "!service"} <= set(kept)


def test_every_action_of_the_workflow_names_a_version_and_every_script_exists() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "images.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(re.search(r"@v\d", step["uses"]) for step in steps if "uses" in step)
    scripts = {name for step in steps for name in re.findall(r"\.ci/[\w-]+", step.get("run", ""))}
    assert scripts
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)


def test_the_workflow_names_the_image_in_lower_case_and_asks_the_registry_for_its_digest(
    tmp_path: Path,
) -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "images.yml").read_text())["jobs"]
    for job in jobs.values():
        [naming] = [step for step in job["steps"] if step.get("name") == "Name the image"]
        given = {"REGISTRY": "registry.example", "GITHUB_REPOSITORY_OWNER": "Some-Owner", "GITHUB_ENV": "env"}
        subprocess.run(["bash", "-e", "-c", naming["run"]], cwd=tmp_path, env=os.environ | given, check=True)
    assert set((tmp_path / "env").read_text().splitlines()) == {
        "IMAGE=registry.example/some-owner/inspyrenet-api"
    }
    commands = "\n".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
    assert "RepoDigests" not in commands


DOCKER = """#!/bin/sh
case "$*" in
  run*) echo container ;;
  *" python -v "*) echo "$SAID" >&2; exit "$IMPORT_CODE" ;;
  inspect*) echo "$EXIT_CODE" ;;
esac
"""
"""A container engine that runs nothing."""


@pytest.mark.parametrize(
    ("said", "import_code", "exit_code", "passes"),
    [
        ("import torch", 0, 0, True),
        ("# could not create '/app/service/__pycache__'", 0, 0, False),
        ("ModuleNotFoundError: No module named 'cv2'", 1, 0, False),
        ("import torch", 0, 137, False),
    ],
)
def test_the_smoke_test_of_an_image_fails_for_each_fault_that_it_looks_for(
    said: str, import_code: int, exit_code: int, passes: bool, tmp_path: Path
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    given = {"SAID": said, "IMPORT_CODE": str(import_code), "EXIT_CODE": str(exit_code)}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [ROOT / ".ci" / "image-smoke", "image"],
        env=os.environ | given | {"PATH": path},
        capture_output=True,
        check=False,
    )
    assert (done.returncode == 0) is passes, done.stderr
