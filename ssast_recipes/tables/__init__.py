"""Tables of results: the published rows as data, the runs that fill them, and what these left."""
