"""ptiffserve: whole-slide tiles straight out of Philips TIFFs."""

__version__ = "0.1.0"
