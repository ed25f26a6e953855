"""The parts of a report: each turns files of a workdir into HTML, or ''."""
