"""FRDiff Auto-FR without a window, and what its files are worth."""
