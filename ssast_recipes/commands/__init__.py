"""One thin file a command; `main` is `ssast`."""
