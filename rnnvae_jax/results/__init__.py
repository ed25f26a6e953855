"""Tables of papers: their rows are trained, recorded, rendered and drawn."""
