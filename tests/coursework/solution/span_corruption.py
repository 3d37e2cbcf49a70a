MASK, PAD = "\u2047", "\u25a1"


def cut(text, context, random):
    most = min(len(text), context * 7 // 8)
    return text[: random.integers(min(4, most), most + 1)]


def draw_span(size, random):
    middle = max(1, size // 4)
    length = int(random.integers(1, 2 * middle))
    return int(random.integers(0, size - length + 1)), length


def move_span(text, start, length):
    return text[:start] + MASK + text[start + length :] + MASK + text[start : start + length]


def restore(row):
    prefix, suffix, span = row.split(MASK)
    return prefix + span + suffix


def source_and_target(row, width):
    padded = row + PAD * (width + 1 - len(row))
    return padded[:-1], padded[1:]
