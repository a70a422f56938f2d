"""Builds the three extension modules into the package, and brings the viewer's library, OpenSeadragon, from npm.

PTIFFSERVE_DEBUG=1 adds bounds checks and the sanitizers for addresses and undefined behaviour; tests/run_debug.sh uses it
in a copy of the tree, so that the two kinds of build never mix.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Command, Extension, setup
from setuptools.command.build_py import build_py
from setuptools.errors import ExecError

DEBUG = os.environ.get("PTIFFSERVE_DEBUG") == "1"
EXT = Path("ext")
WARN = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-cast-function-type", "-fno-strict-overflow"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
CFLAGS = [
    *WARN,
    *(["-O1", "-g", "-fno-omit-frame-pointer", *SANITIZE] if DEBUG else ["-O3", "-g0"]),
]
LDFLAGS = SANITIZE if DEBUG else []
JPEG = [
    *("fail.c", "reader.c", "writer.c", "decode.c", "encode.c"),
    *("transcode.c", "plan.c", "turn.c", "mosaic.c"),
]


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


OPENSEADRAGON = "openseadragon@6.1.1"
INTEGRITY = "sha512-g4iKe2q8B642SaBT3+x4ZF3/8b1TxPPydyjmtrOLgDrlYWMKd9ZXM+1Cb/xa9DVySkvs/7l6HR1nHKfD5F3Tsw=="
# What the pages need of the npm package, and its names there.
VENDORED = {
    "openseadragon.min.js": "package/build/openseadragon/openseadragon.min.js",
    "LICENSE.txt": "package/LICENSE.txt",
}
VENDOR = Path("ptiffserve/viewer/vendor")
# Names the version that is there; written last.
STAMP = VENDOR / "VERSION.txt"


def vendor() -> None:
    """Fills VENDOR from npm unless it holds the pinned version already. ExecError says what is missing."""
    if STAMP.is_file() and STAMP.read_text() == OPENSEADRAGON:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise ExecError(f"npm is needed to fetch {OPENSEADRAGON} for the viewer (Debian, Ubuntu: sudo apt install npm)")
    print(f"fetching {OPENSEADRAGON} from npm into {VENDOR}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        pack = [npm, "pack", OPENSEADRAGON, "--ignore-scripts", "--silent", "--pack-destination", folder]
        if subprocess.run(pack, stdout=subprocess.DEVNULL, check=False).returncode:  # noqa: S603
            raise ExecError(f"npm could not fetch {OPENSEADRAGON}; is the registry reachable? It was: {' '.join(pack)}")
        unpack(next(Path(folder).glob("*.tgz")))


def unpack(package: Path) -> None:
    digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != INTEGRITY:
        raise ExecError(f"npm gave another {OPENSEADRAGON} than the one that was pinned: sha512-{digest}")
    VENDOR.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package) as archive:
        for name, member in VENDORED.items():
            found = archive.extractfile(member)
            if found is None:
                raise ExecError(f"{OPENSEADRAGON} has no {member}")
            (VENDOR / name).write_bytes(found.read())
    STAMP.write_text(OPENSEADRAGON)


class Vendor(Command):
    """`python setup.py vendor`: only that."""

    description = f"bring {OPENSEADRAGON} from npm into the viewer"
    user_options: list[tuple[str, str | None, str]] = []  # noqa: RUF012

    def initialize_options(self) -> None:
        pass

    def finalize_options(self) -> None:
        pass

    def run(self) -> None:
        vendor()


class BuildPy(build_py):
    """Every build of the package, editable ones too, has the library."""

    def run(self) -> None:
        self.run_command("vendor")
        # setuptools takes every folder for a package, and has listed them before this one was there.
        self.packages = sorted({*self.packages, ".".join(VENDOR.parts)})
        super().run()


setup(
    cmdclass={"build_py": BuildPy, "vendor": Vendor},
    ext_modules=cythonize(
        [
            extension("_ptiff", "ptiff", [], []),
            extension("_jpeg", "jpeg", JPEG, ["jpeg"]),
            extension("_pixels", "pixels", ["resample.c"], ["m"]),
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
