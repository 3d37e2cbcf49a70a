"""Training: one loop for everything that learns (`fit`), figures with a passport (`evaluate`), the folder (`run`)."""
