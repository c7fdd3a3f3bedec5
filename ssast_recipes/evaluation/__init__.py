"""What frozen encoders know: embedded once, probed, and set beside baselines without learning."""
