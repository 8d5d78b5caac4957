"""Source of the site, and what makes parts of it from code."""
