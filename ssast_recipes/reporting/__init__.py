"""The page of `ssast report`, and the demo's."""
