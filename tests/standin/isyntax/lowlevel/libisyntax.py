"""The exceptions of pyisyntax."""


class LibISyntaxError(Exception):
    pass


class LibISyntaxFatalError(LibISyntaxError):
    pass


class NullPointerError(Exception):
    pass
