// Replaced in the commits that follow.
