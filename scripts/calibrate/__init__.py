"""FRDiff Auto-FR without a window, the paper's gates, and the schedule files that are shipped."""
