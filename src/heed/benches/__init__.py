"""What things cost: mechanisms by length, devices and precisions, methods of training in memory."""
