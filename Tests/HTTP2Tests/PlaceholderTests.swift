// Replaced by the module's own tests in the commits that follow.
