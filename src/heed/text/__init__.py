"""Text becomes token ids, and token ids become batches; numpy, no torch.

tokenizers        text to token ids and back; load_tokenizer, train_tokenizer
corpus            where documents come from, and their splits
tokenfile         token ids on disk, memory-mapped
batches           what a training step sees
spans             a document with a span of it moved to its end
salient           names, places and dates in a text
corruption        batches of documents with hidden spans
qa                questions with answers: their files, and batches of them
mixture           batches whose rows come from several streams
"""
