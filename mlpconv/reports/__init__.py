"""Self-contained HTML pages about runs: the report of a run and the comparison of several."""
