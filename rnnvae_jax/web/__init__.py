"""Pages: self-contained HTML files about runs and searches."""
