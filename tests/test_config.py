"""Settings: every mistake names its key; the environment overrides the file."""

from pathlib import Path

import pytest

from ptiffserve.app import create_app, labelled
from ptiffserve.config import RESERVED, Catalogue, Config, Store, catalogue_path, url_paths
from ptiffserve.endpoint import PROTOCOLS
from ptiffserve.errors import ConfigError
from ptiffserve.loading import load


def test_defaults() -> None:
    assert load(None, {}) == Config()


def test_file_and_environment(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[server]\nport = 1234\ncors = ["https://a"]\n[[store]]\nroot = "/slides"\nlabel = "S"\n')
    environ = {
        "PTIFFSERVE_SERVER_PORT": "4321",
        "PTIFFSERVE_SERVER_CORS": "https://b, https://c",
        "PTIFFSERVE_AUTH_LABELS": "allow",
        "PTIFFSERVE_LIMITS_MEMORY": "1000",
        "PTIFFSERVE_OTHER": "ignored",
    }
    config = load(path, environ)
    assert (config.server.port, config.server.cors) == (4321, ["https://b", "https://c"])
    assert (config.auth.labels, config.limits.memory) == ("allow", 1000)
    assert config.store == [Store(root="/slides", label="S")]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server]\nprot = 1", "prot"),
        ("[server]\nport = 'x'", "server.port"),
        ("[server]\nport = 70000", "server.port"),
        ("[server]\nworkers = 0", "server.workers"),
        ("[sever]\nport = 1", "sever"),
        ("server = 1", "server"),
        ("[auth]\nlabels = 'perhaps'", "auth.labels"),
        ("[auth]\nmode = 'none'", "auth.mode"),
        ("[limits]\nrenders = 0", "limits.renders"),
        ("[catalogue]\nurl = 'oracle://x'", "catalogue.url"),
        ("[[store]]\nlabel = 'x'", "root"),
        ("[[store]]\nroot = 5", "root"),
        ("[[store]]\nroot = '/'\ncolour = 'x'", "colour"),
        *(
            (f"[[store]]\nroot = '/'\nurl_path = '{path}'", "store.url_path")
            for path in (
                "data",
                "/",
                "/data/",
                "//data",
                "/data//x",
                "/data/../x",
                "/data/.",
                "/tiles/x",
                "/api",
                "/iiif",
            )
        ),
        *(
            (
                f"[[store]]\nroot = '/'\nurl_path = '/data/x'\n[[store]]\nroot = '/'\nurl_path = '{path}'",
                "store.url_path",
            )
            for path in ("/data/x", "/data", "/data/x/y")
        ),
        ("[server\n", "c.toml"),
    ],
)
def test_every_mistake_names_its_key(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        load(path, {})


def test_slides_may_be_seen_under_paths_side_by_side(tmp_path: Path) -> None:
    stores = (("/s/a", "/data/images"), ("/s/b", "/data/images2"), ("/s/c", ""), ("/s/d", ""), ("/s/e", "/mnt"))
    text = "\n".join(f'[[store]]\nroot = "{root}"\nlabel = "{root[-1]}"\nurl_path = "{path}"' for root, path in stores)
    (tmp_path / "c.toml").write_text(text)
    found = url_paths(load(tmp_path / "c.toml", {}).store)
    assert found == {"/data/images": "a", "/data/images2": "b", "/mnt": "e"}


def test_every_first_segment_of_ours_is_reserved(tmp_path: Path) -> None:
    app = create_app(Config(catalogue=Catalogue(f"sqlite:///{tmp_path}/c.db")))
    pages = {route.path.split("/")[1] for route in app.rest.routes}  # type: ignore[union-attr]
    assert {key.split("/")[0] for key in PROTOCOLS} | pages - {""} <= RESERVED


def test_a_bad_environment_value_names_its_variable() -> None:
    with pytest.raises(ConfigError, match="PTIFFSERVE_SERVER_PORT"):
        load(None, {"PTIFFSERVE_SERVER_PORT": "many"})


def test_a_missing_file() -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load(Path("/none.toml"), {})


def test_labels_are_folder_names_told_apart(tmp_path: Path) -> None:
    for name in ("a/slides", "b/slides"):
        (tmp_path / name).mkdir(parents=True)
    stores = labelled([Store(root=str(tmp_path / "a/slides")), Store(root=str(tmp_path / "b/slides"))])
    assert [store.label for store in stores] == ["slides", "slides-2"]
    with pytest.raises(ConfigError, match=r"store\.root"):
        labelled([Store(root=str(tmp_path / "none"))])
    with pytest.raises(ConfigError, match=r"store\.label"):
        labelled([Store(root=str(tmp_path), label="x"), Store(root=str(tmp_path / "a"), label="x")])


def test_other_folders_have_another_catalogue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, two = Config(store=[Store(root="/a")]), Config(store=[Store(root="/b")])
    assert catalogue_path(one) == catalogue_path(one)
    assert catalogue_path(one) != catalogue_path(two)
    assert catalogue_path(one).parent == tmp_path / "ptiffserve"
