"""Few-shot evaluation: task files, demonstrations, scoring, and the page. Over HTTP it needs no torch."""
