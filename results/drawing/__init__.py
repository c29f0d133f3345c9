"""Drawing runs: curves, matplotlib figures, and the page of results.report."""
