"""Who may change anything through HTTP: one function, asked by every route that writes. Says nothing about looking."""

import hmac
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from ptiffserve.errors import Forbidden, Unauthorized

# A request that came through somebody: its peer is not who asks.
FORWARDED = frozenset((b"x-forwarded-for", b"forwarded"))


def allow_write(scope: Mapping[str, Any], secret: str) -> None:
    """With a secret (`auth.secret`), the request must carry `Authorization: Bearer SECRET`. Without one, only this machine's
    own programs may write, and none of its browser's pages from elsewhere. Unauthorized or Forbidden.

    `scope`: of ASGI.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if secret:
        _check_bearer(headers.get(b"authorization", b""), secret)
    elif not _loopback((scope.get("client") or ("", 0))[0]) or FORWARDED & headers.keys():
        raise Forbidden("without auth.secret, only programs on this machine may write")
    elif b"origin" in headers and not _own_page(headers[b"origin"], headers.get(b"host", b"")):
        raise Forbidden("pages of other servers may not write here")


def _check_bearer(said: bytes, secret: str) -> None:
    scheme, _, token = said.partition(b" ")
    if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), secret.encode()):
        raise Unauthorized("Authorization: Bearer and the secret of the configuration are needed to write")


def _own_page(origin: bytes, host: bytes) -> bool:
    """A page of ours, by a name of this machine: a name that somebody else points here is not ours."""
    said = urlsplit(origin.decode("latin-1"))
    own = said.netloc.encode("latin-1") == host
    return own and (said.hostname == "localhost" or _loopback(said.hostname or ""))


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
