"""The demo, the demo models and their training."""
