"""Everybody may look; labels, macros and barcodes only where the configuration says so."""

from collections.abc import Mapping

from ptiffserve.errors import Forbidden
from ptiffserve.slide import Slide


class Open:
    def __init__(self, labels: bool) -> None:
        self._labels = labels

    async def allow(self, headers: Mapping[bytes, bytes], slide: Slide) -> None:
        return

    async def allow_labels(self, headers: Mapping[bytes, bytes], slide: Slide) -> None:
        if not self._labels:
            raise Forbidden("labels, macros and barcodes are not shown here (auth.labels)")
