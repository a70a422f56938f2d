"""Slides and servers that the tests share. Sample slides are drawn once a run; shared data is used where it is there."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import ptiffserve.sample
from ptiffserve.app import create_app
from ptiffserve.config import Auth, Catalogue, Config, Limits, Store
from ptiffserve.sample import Sample, write

SHARED = Path(__file__).parents[2] / "shared"

# Every way a Philips file differs that the compiled path must see; sizes are no multiple of the tile at any level.
SAMPLES = {
    "big420": Sample(width=1500, height=1100, tile=256, seed=1),
    "classic422": Sample(width=1300, height=900, tile=256, subsampling="422", classic=True, sparse=0.5, seed=2),
    "big444": Sample(width=700, height=1201, tile=128, subsampling="444", sparse=0.0, seed=3),
    "rgb": Sample(width=1100, height=700, tile=256, photometric="rgb", seed=4),
    "one": Sample(width=200, height=90, tile=256, macro=False, label=False, seed=5),
}


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `slides` with NAME.tiff for each of SAMPLES. Read only: tests that change files copy them first."""
    folder = tmp_path_factory.mktemp("store") / "slides"
    folder.mkdir()
    for name, sample in SAMPLES.items():
        shutil.copy(drawn(sample), folder / f"{name}.tiff")
    return folder


def drawn(sample: Sample) -> Path:
    """The slide, drawn once for this version of the writer: kept in the temporary folder from one run to the next."""
    sources = sorted(Path(ptiffserve.sample.__file__).parent.glob("*.py"))
    said = repr(sample).encode() + b"".join(source.read_bytes() for source in sources)
    path = Path(tempfile.gettempdir()) / "ptiffserve-samples" / f"{blake2b(said, digest_size=12).hexdigest()}.tiff"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write(sample, path)
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real slides beside the project."""
    if not (SHARED / "data").is_dir():
        pytest.skip("../shared is not here")
    return SHARED / "data"


Serve = Callable[..., TestClient]


def settle(client: TestClient, number: int, seconds: float = 20) -> None:
    """Waits until the catalogue lists `number` slides."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if len(client.get("/api/slides?limit=1000").json()["slides"]) >= number:
            return
        time.sleep(0.05)
    raise AssertionError(f"{number} slides were not listed within {seconds} s")


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """serve(*folders, labels="deny", **server) -> a client of the whole application, in this process, catalogue in tmp."""
    running: list[TestClient] = []

    def start(*folders: Path, labels: str = "deny", limits: Limits | None = None) -> TestClient:
        path = tmp_path_factory.mktemp("catalogue") / "catalogue.db"
        config = Config(
            store=[Store(root=str(folder)) for folder in folders],
            catalogue=Catalogue(f"sqlite:///{path}"),
            auth=Auth(labels=labels),
            limits=limits or Limits(),
        )
        client = TestClient(create_app(config), follow_redirects=False, raise_server_exceptions=True)
        client.__enter__()
        running.append(client)
        return client

    yield start
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def client(serve: Serve, slides: Path) -> TestClient:
    """A client of the application over the sample slides, all of them listed."""
    client = serve(slides)
    settle(client, len(SAMPLES))
    return client
