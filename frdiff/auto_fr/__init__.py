"""Auto-FR: find out once, from a model's own runs, what error each speed has."""
