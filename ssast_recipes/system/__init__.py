"""Files, errors, signals, the machine, downloads; no torch at import."""
