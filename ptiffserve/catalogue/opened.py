"""A catalogue by its URL."""

from pathlib import Path

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import Config, catalogue_path
from ptiffserve.errors import ConfigError

SCHEMES = ("mongodb://", "mongodb+srv://")


def open_catalogue(config: Config) -> Catalogue:
    """The configured one. A server need not be there yet. ConfigError where the URL means none."""
    said = config.catalogue
    if said.url.startswith(SCHEMES):
        return open_url(said.url, said.secret)
    return Embedded(catalogue_path(config))


def open_url(url: str, password: str = "") -> Catalogue:
    """sqlite:///PATH or mongodb://HOST/DATABASE. ConfigError."""
    if url.startswith(SCHEMES):
        from ptiffserve.catalogue.mongo import Mongo  # costs 0.1 s, which no other command should pay

        return Mongo(url, password)
    if not url.startswith("sqlite:///"):
        raise ConfigError(f"a catalogue's URL begins with sqlite:/// or mongodb://, not {url.partition('://')[0]!r}")
    return Embedded(Path(url.removeprefix("sqlite:///")))
