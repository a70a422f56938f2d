"""The API's description: OpenAPI for programs, a page for people. Both are made once, of the table of operations."""

import re
from functools import cache
from html import escape
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ptiffserve import __version__
from ptiffserve.api.answers import json
from ptiffserve.api.operations import TABLE, ErrorAnswer, Operation

SECURITY = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
_REFERENCE = "#/components/schemas/{name}"


@cache
def openapi() -> dict[str, Any]:
    """OpenAPI 3.1, whose schemas are JSON Schema as msgspec writes it."""
    kinds = [ErrorAnswer] + [kind for each in TABLE for kind in (each.answer, each.body) if isinstance(kind, type)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    by_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in TABLE:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, by_kind)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ptiffserve", "version": __version__},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"secret": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(each: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    statuses = [*each.errors, *((401, 403) if each.writes else ())]
    said: dict[str, Any] = {
        "summary": each.summary,
        "responses": {str(each.status): _response("what was asked for", each.answer, schemas)}
        | {str(status): _response("an error", ErrorAnswer, schemas) for status in sorted(statuses)},
        "parameters": [_parameter(name, "path", "") for name in re.findall(r"{(\w+)}", each.path)]
        + [_parameter(name, "query", meaning) for name, meaning in each.query.items()],
    }
    if each.body is not None:
        said["requestBody"] = {"required": True, "content": _content(each.body, schemas)}
    if each.writes:
        said["security"] = [{"secret": []}, {}]
    return said


def _parameter(name: str, place: str, meaning: str) -> dict[str, Any]:
    said = {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
    return said | ({"description": meaning} if meaning else {})


def _response(words: str, kind: Any, schemas: dict[Any, Any]) -> dict[str, Any]:
    return {"description": words} | ({} if kind is None else {"content": _content(kind, schemas)})


def _content(kind: Any, schemas: dict[Any, Any]) -> dict[str, Any]:
    return {kind: {}} if isinstance(kind, str) else {"application/json": {"schema": schemas[kind]}}


@cache
def page() -> str:
    """Every operation, what may be asked, and what the answers hold."""
    shapes = openapi()["components"]["schemas"]
    operations = "".join(map(_section, TABLE))
    named = "".join(f'<h3 id="{escape(name)}">{escape(name)}</h3>{_shape(shape)}' for name, shape in shapes.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>ptiffserve: the API</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/assets/style.css"></head><body>'
        f'<main class="text"><h1>The API</h1><p>For programs: <a href="/api/openapi.json">OpenAPI</a>.</p>{operations}'
        f"<h2>What answers and bodies hold</h2>{named}</main></body></html>"
    )


def _section(each: Operation) -> str:
    asked = "".join(f"<li><code>{escape(name)}</code>: {escape(words)}</li>" for name, words in each.query.items())
    answer = each.answer if isinstance(each.answer, str) else _link(each.answer)
    lines = [
        f"<h2><code>{each.method} {escape(each.path)}</code></h2><p>{escape(each.summary)}</p>",
        f"<ul>{asked}</ul>" if asked else "",
        f"<p>Body: {_link(each.body)}</p>" if each.body else "",
        f"<p>{each.status}: {answer}; errors: {', '.join(map(str, each.errors)) or 'none'}",
        "; needs <code>Authorization: Bearer SECRET</code>, or this machine</p>" if each.writes else "</p>",
    ]
    return "".join(lines)


def _link(kind: Any) -> str:
    return "no body" if kind is None else f'<a href="#{escape(kind.__name__)}">{escape(kind.__name__)}</a>'


def _shape(shape: dict[str, Any]) -> str:
    rows = "".join(
        f"<li><code>{escape(name)}</code>: {escape(_type(said))}</li>"
        for name, said in shape.get("properties", {}).items()
    )
    return f"<p>{escape(shape.get('description', ''))}</p><ul>{rows}</ul>"


def _type(said: dict[str, Any]) -> str:
    if "$ref" in said:
        return str(said["$ref"]).rpartition("/")[2]
    if "anyOf" in said:
        return " or ".join(_type(each) for each in said["anyOf"])
    if "enum" in said:
        return ", ".join(map(str, said["enum"]))
    many = said.get("items")
    return f"list of {_type(many)}" if isinstance(many, dict) and many else str(said.get("type", "anything"))


async def _openapi(request: Request) -> Response:
    return json(openapi())


async def _page(request: Request) -> Response:
    return HTMLResponse(page(), headers=SECURITY)


routes = [Route("/api/openapi.json", _openapi), Route("/api", _page)]
