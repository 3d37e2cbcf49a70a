from collections import Counter
from itertools import pairwise


def joined(ids, pair, new):
    out, at = [], 0
    while at < len(ids):
        if tuple(ids[at : at + 2]) == pair:
            out.append(new)
            at += 2
        else:
            out.append(ids[at])
            at += 1
    return out


def train(words, n_merges):
    pieces = {word: list(word.encode()) for word in words}
    often = Counter(words)
    merges = []
    while len(merges) < n_merges:
        counts = Counter()
        for word, ids in pieces.items():
            for pair in pairwise(ids):
                counts[pair] += often[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        pieces = {word: joined(ids, best, 255 + len(merges)) for word, ids in pieces.items()}
    return merges


def encode(text, merges):
    ids = list(text.encode())
    for number, pair in enumerate(merges):
        ids = joined(ids, tuple(pair), 256 + number)
    return ids


def decode(ids, merges):
    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    return b"".join(pieces[id] for id in ids).decode(errors="replace")
