"""The seam of access: one call site for every protocol, before conditional requests and caches."""

from collections.abc import Mapping
from typing import Protocol

from ptiffserve.slide import Slide


class Access(Protocol):
    """`headers` are the request's, lower-case names. Forbidden where the answer is no."""

    async def allow(self, headers: Mapping[bytes, bytes], slide: Slide) -> None:
        """May this request see the slide's pixels?"""

    async def allow_labels(self, headers: Mapping[bytes, bytes], slide: Slide) -> None:
        """May it see label, macro and barcode, which name patients?"""
