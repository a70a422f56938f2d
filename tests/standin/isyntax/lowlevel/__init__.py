"""As in pyisyntax."""
