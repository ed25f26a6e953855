"""Named corpora, a file each; `base` has their contract."""
