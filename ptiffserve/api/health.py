"""Whether the process lives."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ptiffserve.api.answers import json


async def _health(request: Request) -> Response:
    return json({"status": "ok"})


routes = [Route("/health", _health)]
