"""Programs run from the root of the repository; a package so that they can share modules."""
