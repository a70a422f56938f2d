"""Where a slide's bytes come from. Bytes in, no TIFF."""
