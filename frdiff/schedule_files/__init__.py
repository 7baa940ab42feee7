"""Calibrated schedules as files: what is in them, how they are written and read, and how they are used."""
