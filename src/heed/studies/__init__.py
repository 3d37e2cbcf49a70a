"""Many runs: variants over seeds on one budget, searched, run in processes, and what they would take."""
