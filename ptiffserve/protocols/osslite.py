"""OSS-Lite's shape: the path of a slide on the disk of its users, with IIIF 2 behind it.

`/data/myImages/folder/image.svs/info.json`, `/data/myImages/folder/image.svs/{region}/{size}/{rotation}/{quality}.{fmt}`,
for stores that say `url_path = "/data/myImages"`. It means what the specification says, not what OSS-Lite made of it.
"""

from collections.abc import Sequence

from ptiffserve.protocols import iiif
from ptiffserve.protocols.base import Candidate

resolve = iiif.resolve
home = iiif.home
describe = iiif.describe
links = iiif.links


def parse(segments: Sequence[str], query: bytes) -> list[Candidate]:
    return iiif.parse(["iiif", "2", "", *segments], query)
