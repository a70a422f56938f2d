"""Keeping the catalogue in step with folders: scan (opens nothing), diff (pure), apply (one bad file, one bad record)."""
