"""Questions to a trained model: answers with their probability, what supports them, when to say nothing, marks."""
