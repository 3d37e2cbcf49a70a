"""Many runs at once: what each has come to, read as it stands on the disk; no torch."""
