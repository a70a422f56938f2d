"""Values by key in the back end of a queue, where Huey keeps results. Knows nothing of tasks."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from ptiffserve.errors import Unavailable
from ptiffserve.sync.signed import Refused


@contextmanager
def reaching() -> Iterator[None]:
    """Turns what a Redis that is away raises into Unavailable."""
    try:
        yield
    except redis.RedisError as error:
        raise Unavailable(f"the queue's Redis does not answer: {type(error).__name__}") from error


class Keys:
    """What was not signed by us is not there. Unavailable where the back end cannot be reached."""

    def __init__(self, huey: Any) -> None:
        self._huey = huey

    def put(self, key: str, data: object) -> None:
        with reaching():
            self._huey.put(key, data)

    def put_if_empty(self, key: str, data: object) -> bool:
        with reaching():
            return bool(self._huey.put_if_empty(key, data))

    def get(self, key: str) -> Any:
        try:
            with reaching():
                return self._huey.get(key, peek=True)
        except Refused:
            return None

    def delete(self, key: str) -> None:
        with reaching():
            self._huey.delete(key)

    def items(self) -> Iterable[tuple[str, Any]]:
        with reaching():
            found = self._huey.all_results()
        for key, data in found.items():
            try:
                yield key, self._huey.serializer.deserialize(data)
            except Refused:
                continue
