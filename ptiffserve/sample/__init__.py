"""Sample slides: Philips TIFFs with drawn tissue, for tests, demonstrations and measurements. Reads no slide."""

from ptiffserve.sample.build import write
from ptiffserve.sample.options import Photometric, Sample, Subsampling

__all__ = ["Photometric", "Sample", "Subsampling", "write"]
