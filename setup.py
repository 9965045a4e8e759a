"""Compiles the C files of ``service/native`` into the module ``inspyrenet_native``; all else is in ``pyproject.toml``.

Without a working C compiler the installation succeeds all the same, and lacks that module:
``service/native/library.py`` says what the service then does. ``Dockerfile`` runs this file alone, without
``pyproject.toml``.

It is not in ``pyproject.toml`` because setuptools calls ``ext-modules`` there experimental.
"""

from hashlib import sha256
from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("service/native")
FILES = sorted(FOLDER.glob("[a-z]*.[ch]"))  # not an editor's own
SOURCES = [str(file) for file in FILES if file.suffix == ".c"]
HEADERS = [str(file) for file in FILES if file.suffix == ".h"]
HASH = sha256(b"".join(file.read_bytes() for file in FILES)).hexdigest()
if not SOURCES:
    raise FileNotFoundError(f"there is no {FOLDER} here: run setup.py in the folder in which it is")

setup(
    ext_modules=[
        Extension(
            "inspyrenet_native",
            SOURCES,
            depends=HEADERS,
            define_macros=[("SOURCE_HASH", f'"{HASH}"')],
            # These come after the flags that Python was compiled with. No multiplication and addition becomes one
            # operation, which would round differently from processor to processor. The loops use neither floating-point
            # exceptions nor errno, and without them more loops become vector instructions.
            extra_compile_args=["-O3", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"],
            optional=True,
        )
    ]
)
