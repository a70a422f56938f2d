"""Who may write through HTTP: the one function that says so, and the secret it compares with."""

from pathlib import Path

import pytest

from ptiffserve.auth.writes import allow_write
from ptiffserve.errors import ConfigError, Forbidden, Unauthorized
from ptiffserve.loading import load


def scope(client: str | None, **headers: str) -> dict[str, object]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"client": client and (client, 5), "headers": pairs}


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_may_write_without_a_secret(client: str) -> None:
    allow_write(scope(client), "")
    allow_write(scope(client, host="localhost:8000", origin="http://localhost:8000"), "")
    allow_write(scope(client, host="127.0.0.1:8000", origin="http://127.0.0.1:8000"), "")


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("10.0.0.1", {}),
        ("testclient", {}),
        ("", {}),
        (None, {}),
        ("127.0.0.1", {"x_forwarded_for": "127.0.0.1"}),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"host": "127.0.0.1:8000", "origin": "http://evil.test"}),
        ("127.0.0.1", {"host": "127.0.0.1:8000", "origin": "null"}),
        ("127.0.0.1", {"host": "evil.test:8000", "origin": "http://evil.test:8000"}),
    ],
)
def test_nobody_else(client: str | None, headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        allow_write(scope(client, **headers), "")
    allow_write(scope(client, **headers, authorization="Bearer s3"), "s3")


@pytest.mark.parametrize("said", ["", "s3", "Bearer", "Bearer ", "Bearer s33", "Bearer S3", "Basic s3"])
def test_a_secret_is_needed_by_everybody(said: str) -> None:
    with pytest.raises(Unauthorized):
        allow_write(scope("127.0.0.1", authorization=said), "s3")
    with pytest.raises(Unauthorized):
        allow_write(scope("127.0.0.1"), "s3")


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    config = tmp_path / "c.toml"
    config.write_text(f'[auth]\nsecret_file = "{file}"\n')
    with pytest.raises(ConfigError, match=r"auth\.secret_file"):
        load(config, {})
    file.write_text("\n")
    with pytest.raises(ConfigError, match=r"auth\.secret_file"):
        load(config, {})
    file.write_text("s3cret\n")
    assert load(config, {}).auth.secret == "s3cret"
    assert load(None, {"PTIFFSERVE_AUTH_SECRET": "other"}).auth.secret == "other"
