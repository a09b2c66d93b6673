// Replaced by the module's own files in the commits that follow.
