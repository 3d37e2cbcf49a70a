"""The serving room: trained models behind an OpenAI-compatible API, with continuous batching (`heed serve`)."""
