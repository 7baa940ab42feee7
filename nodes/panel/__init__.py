"""What the canvas shows: live step maps, plans before a run, fronts of schedule files, and pictures."""
