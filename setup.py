"""Builds the two extension modules into the package. PTIFFSERVE_DEBUG=1 adds bounds checks, assertions and AddressSanitizer."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("PTIFFSERVE_DEBUG") == "1"
EXT = Path("ext")
WARN = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-cast-function-type", "-fno-strict-overflow"]
CFLAGS = [
    *WARN,
    *(["-O1", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"] if DEBUG else ["-O3", "-g0"]),
]
LDFLAGS = ["-fsanitize=address,undefined"] if DEBUG else []


def extension(name: str, folder: str, extra: list[str], libraries: list[str]) -> Extension:
    here = EXT / folder
    parts = [
        str(p) for p in sorted(here.iterdir()) if p.suffix in {".pyx", ".pxi", ".pxd", ".h", ".c"} and p.stem != name
    ]
    return Extension(
        f"ptiffserve.{name}",
        [str(here / f"{name}.pyx"), *(str(here / source) for source in extra)],
        depends=parts,
        include_dirs=[str(here)],
        libraries=libraries,
        extra_compile_args=CFLAGS,
        extra_link_args=LDFLAGS,
    )


setup(
    ext_modules=cythonize(
        [
            extension("_ptiff", "ptiff", [], []),
            extension("_jpeg", "jpeg", ["turbo.c"], ["jpeg"]),
        ],
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
            "embedsignature": True,
        },
    ),
)
