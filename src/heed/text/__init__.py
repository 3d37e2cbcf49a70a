"""Text becomes token ids, and token ids become batches; numpy, no torch.

tokenizer         what every tokenizer can do; load_tokenizer, train_tokenizer
patterns          how byte-pair encoding splits text into pieces before it merges
bpe               byte-pair encoding: the encoder, and GPT-1's and GPT-2's own files
bpe_trainer       byte-pair encoding: learning the merges
characters        one token a character
words             one token a word, by WikiText's conventions
foreign           any other tokenizer.json, through the library `tokenizers`
tokenizer_report  what a tokenizer makes of a text
corpus            where documents come from, and their splits
tokenfile         token ids on disk, memory-mapped
batches           what a training step sees
spans             a document with a span of it moved to its end
salient           names, places and dates in a text
corruption        batches of documents with hidden spans
qa                questions with answers: their files, and batches of them
mixture           batches whose rows come from several streams
"""
