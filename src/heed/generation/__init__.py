"""Room: generation."""
