"""Values as signed JSON and back, for queues that others may be able to write to. Nothing here is ever pickled."""

import hmac
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from ptiffserve.errors import PtiffserveError

_HEX = 64
_PLAIN = (str, int, float, bool, type(None))


class Refused(PtiffserveError):
    """Bytes that were not signed with our key for this purpose, or that hold nothing of ours."""

    code = "refused"


class Signed:
    """A serializer as Huey takes it: 64 hex digits of HMAC-SHA256, then JSON.

    `purpose` is part of the key: what was signed for one queue is refused by every other. `kinds`: the named tuples that
    come back as themselves, as do tuples, lists, dictionaries, datetimes and timedeltas; other types are TypeError.
    """

    def __init__(self, secret: bytes, purpose: str, kinds: Sequence[type[tuple[Any, ...]]] = ()) -> None:
        self._key = hmac.digest(secret, b"ptiffserve " + purpose.encode(), "sha256")
        self._names: dict[type, str] = {kind: kind.__name__ for kind in kinds}
        self._restore: dict[str, Callable[[Any], Any]] = {
            "tuple": tuple,
            "dict": dict,
            "time": datetime.fromisoformat,
            "delta": lambda parts: timedelta(*parts),
            **{kind.__name__: partial(_whole, kind) for kind in kinds},
        }

    def serialize(self, data: Any) -> bytes:
        body = msgspec.json.encode(self._tagged(data))
        return hmac.digest(self._key, body, "sha256").hex().encode() + body

    def deserialize(self, data: bytes) -> Any:
        """Refused for what was not signed here, before anything of it is read."""
        data = bytes(data)
        body = data[_HEX:]
        if not hmac.compare_digest(data[:_HEX], hmac.digest(self._key, body, "sha256").hex().encode()):
            raise Refused("the signature is not ours")
        return self._untagged(msgspec.json.decode(body))

    def _tagged(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is list:
            return [self._tagged(each) for each in value]
        if kind is dict:
            return {"dict": [[self._tagged(key), self._tagged(each)] for key, each in value.items()]}
        if kind is datetime:
            return {"time": value.isoformat()}
        if kind is timedelta:
            return {"delta": [value.days, value.seconds, value.microseconds]}
        if kind is tuple or kind in self._names:
            return {self._names.get(kind, "tuple"): [self._tagged(each) for each in value]}
        raise TypeError(f"{kind.__name__} is not put on a queue")

    def _untagged(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._untagged(each) for each in value]
        if not isinstance(value, dict):
            return value
        ((name, inner),) = value.items()
        return self._restore[name](self._untagged(inner))


def _whole(kind: type[tuple[Any, ...]], parts: list[Any]) -> Any:
    return kind(*parts)
