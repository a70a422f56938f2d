"""How every route of the JSON API answers: its bodies, its errors, its waiting. Knows no resource."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ptiffserve import wire
from ptiffserve.auth.writes import allow_write
from ptiffserve.errors import Malformed, PtiffserveError, TooLarge, Unavailable
from ptiffserve.loading import key_first

P = ParamSpec("P")
T = TypeVar("T")
Answering = Callable[[Request], Awaitable[Response]]

# Longer than the catalogue's own time-outs: what waits this long is waiting for a free thread.
PATIENCE = 0.9
MAX_BODY = 1 << 20


def json(said: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    head = {"cache-control": "no-cache", **(headers or {})}
    return Response(msgspec.json.encode(said), status, media_type="application/json", headers=head)


def as_starlette(answer: wire.Response) -> Response:
    return Response(answer.body or None, answer.status, {k.decode(): v.decode() for k, v in answer.headers})


def failed(fault: PtiffserveError) -> Response:
    """The contract's JSON error."""
    return as_starlette(wire.error(fault))


def answering(route: Answering) -> Answering:
    """The route, whose errors are answers: ours by their status, any other logged whole and told in no detail."""

    @wraps(route)
    async def answer(request: Request) -> Response:
        try:
            return await route(request)
        except PtiffserveError as fault:
            return failed(fault)
        except Exception as fault:
            return as_starlette(wire.unexpected(fault))

    return answer


def writing(secret: str) -> Callable[[Answering], Answering]:
    """Routes that change something: asked first whether the request may. Errors are answers."""

    def guarded(route: Answering) -> Answering:
        @wraps(route)
        async def answer(request: Request) -> Response:
            allow_write(request.scope, secret)
            return await route(request)

        return answering(answer)

    return guarded


async def soon(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """A question to the catalogue, on a thread. Unavailable where no answer comes in a second."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(call, *arguments, **named), PATIENCE)
    except TimeoutError:
        raise Unavailable("the catalogue does not answer in time") from None


async def body(request: Request, kind: type[T]) -> T:
    """The request's JSON as `kind`. Malformed names the key that is wrong; TooLarge."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY:
            raise TooLarge(f"a JSON body here has at most {MAX_BODY} bytes")
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise Malformed(key_first(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"the body is not JSON: {error}") from error
