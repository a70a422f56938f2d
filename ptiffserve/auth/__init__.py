"""Who may look. One seam, asked once per request."""
