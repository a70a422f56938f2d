"""The API's description is of the API that is there."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from served import SAMPLES, settle
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from ptiffserve.api.described import openapi
from ptiffserve.api.operations import TABLE
from ptiffserve.app import create_app
from ptiffserve.config import Catalogue, Config, Store


def test_every_route_is_described_and_every_description_is_a_route(slides: Path, tmp_path: Path) -> None:
    app = create_app(Config(store=[Store(root=str(slides))], catalogue=Catalogue(f"sqlite:///{tmp_path}/c.db")))
    rest = app.rest
    assert isinstance(rest, Starlette)
    found = {
        (method, re.sub(r"{\w+(:path)?}", "{}", route.path.rstrip("/")))
        for route in rest.routes
        if isinstance(route, Route) and re.match("/(api|apiv1|health)(/|$)", route.path)
        for method in route.methods or ()
        if method not in ("HEAD", "OPTIONS")
    }
    told = {(each.method, re.sub(r"{\w+}", "{}", each.path)) for each in TABLE}
    assert found == told


def references(said: Any) -> set[str]:
    if isinstance(said, dict):
        own = {said["$ref"]} if isinstance(said.get("$ref"), str) else set()
        return own.union(*map(references, said.values()))
    return set().union(*map(references, said)) if isinstance(said, list) else set()


def test_openapi_holds_together(client: TestClient) -> None:
    said = client.get("/api/openapi.json").json()
    assert said == msgspec.json.decode(msgspec.json.encode(openapi()))
    assert said["openapi"] == "3.1.0"
    names = {f"#/components/schemas/{name}" for name in said["components"]["schemas"]}
    assert references(said) <= names
    for path, operations in said["paths"].items():
        for operation in operations.values():
            inside = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert inside == set(re.findall(r"{(\w+)}", path))


@pytest.mark.parametrize(("path", "name"), [("/api/slides", "SlidesAnswer"), ("/api/stores", "StoresAnswer")])
def test_answers_have_the_fields_that_are_described(client: TestClient, path: str, name: str) -> None:
    settle(client, len(SAMPLES))
    schemas = client.get("/api/openapi.json").json()["components"]["schemas"]
    check(client.get(path).json(), {"$ref": f"#/components/schemas/{name}"}, schemas)


def check(said: Any, shape: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Objects have all the required fields and none that is not described."""
    if "$ref" in shape:
        shape = schemas[shape["$ref"].rpartition("/")[2]]
    if isinstance(said, dict) and "properties" in shape:
        assert set(shape["required"]) <= said.keys() <= shape["properties"].keys()
        for key, value in said.items():
            check(value, shape["properties"][key], schemas)
    elif isinstance(said, list) and isinstance(shape.get("items"), dict):
        for value in said:
            check(value, shape["items"], schemas)


def test_the_page_is_readable_and_needs_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/api")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for each in TABLE:
        assert f"{each.method} {each.path}" in answer.text
    assert not re.search(r"(src|href)=\"?(https?:)?//", answer.text)
    opened: list[str] = []

    class Pairs(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "link"):
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Pairs().feed(answer.text)
    assert opened == []
