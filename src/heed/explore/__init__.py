"""The algebra of attention as functions whose answers are checked: which query copies, what a mask must be, and why."""
