"""From audio files on disk to batches: manifests, downloads, statistics and fabricated corpora."""
