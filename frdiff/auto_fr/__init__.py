"""Auto-FR: find out once, from a model's own runs, which steps to compute at any speed-up."""
