"""Running a plan: the analytic bound, the tile executor and the walk through segments."""
