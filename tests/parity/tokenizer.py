"""Our tokenizer against huggingface/tokenizers: ids, offsets, decoded texts, on 100,000 strings and more. No difference
is allowed.

    /opt/ref/bin/python tests/parity/tokenizer.py DRIVER MODEL.gguf [--strings N] [--seed S]

DRIVER is the program of tests/parity/tokenize_driver.cpp. Tokenizers: SmolLM2 (vocabulary, merges and control tokens
from the GGUF file), and small ones trained here with the component trees of GPT-2, Llama-3, Qwen2 and others.
Strings: random Unicode over all planes, texts of this machine (message catalogues of all languages, the Python library
and its multilingual test files, manual pages), soups of white space, digits and apostrophes, special tokens inside
text, very long words.

The reference counts offsets in characters and widens them to whole characters; ours are bytes. They are compared after
widening ours. Where a vocabulary lacks a byte (SmolLM2 has no 0xF1) the reference drops it and shifts all offsets
behind it; there ours are held against the text itself: each token stands for the bytes of its range.
"""

import argparse
import gettext
import glob
import gzip
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def special(content, **flags):
    return AddedToken(content, special=True, normalized=False, **flags)


def smollm2(path):
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    strings = lambda key: [bytes(fields[key].parts[i]).decode() for i in fields[key].data]
    tokens = strings("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in strings("tokenizer.ggml.merges")]
    types = [int(fields["tokenizer.ggml.token_type"].parts[i][0]) for i in fields["tokenizer.ggml.token_type"].data]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([special(token) for token, kind in zip(tokens, types) if kind == 3])
    return tokenizer


def trained(texts, pre, added, vocab_size=2000, post=None, legacy=False, alphabet=True, **model):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    letters = pre_tokenizers.ByteLevel.alphabet() if alphabet else []
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=letters, show_progress=False)
    )
    document = json.loads(tokenizer.to_str())
    document["model"].update(model)
    for token in model.get("byte_tokens", []):
        document["model"]["vocab"][token] = len(document["model"]["vocab"])
    document["model"].pop("byte_tokens", None)
    if legacy:
        document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.decoder = decoders.ByteLevel() if alphabet else decoders.Fuse()
    tokenizer.add_tokens(added)
    if post is not None:
        tokenizer.post_processor = post(tokenizer)
    return tokenizer


def template(tokenizer):
    bos = "<|bos|>"
    return processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{bos} $A <|end|>", special_tokens=[
                (bos, tokenizer.token_to_id(bos)), ("<|end|>", tokenizer.token_to_id("<|end|>"))]),
        ]
    )


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(pattern if isinstance(pattern, str) else pattern, behavior, invert)


def no_regex():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def all_tokenizers(gguf, texts):
    plain = [special("<|endoftext|>")]
    chat = [special("<|bos|>"), special("<|end|>"), special("<|im_start|>"), special("<|im_end|>")]
    odd = [
        special("<|bos|>"),
        special("<|end|>", rstrip=True),
        special("<mask>", lstrip=True),
        AddedToken("word", single_word=True, normalized=False),
        AddedToken("<|", normalized=False),
        AddedToken("<|im_start|>", normalized=False),
        AddedToken("<tool call>", normalized=True, lstrip=True, rstrip=True),
        AddedToken("ünï", normalized=True, single_word=True),
    ]
    sequence = pre_tokenizers.Sequence
    yield "SmolLM2", smollm2(gguf)
    yield "GPT-2", trained(texts, pre_tokenizers.ByteLevel(add_prefix_space=False), plain)
    yield "GPT-2 with prefix space, merges as strings", trained(
        texts, pre_tokenizers.ByteLevel(add_prefix_space=True), odd, legacy=True)
    yield "Llama-3", trained(
        texts, sequence([split(Regex(LLAMA3)), no_regex()]), chat, post=template, ignore_merges=True)
    yield "Qwen2", trained(texts, sequence([split(Regex(QWEN2)), no_regex()]), chat + odd[5:])
    yield "Qwen3.5 without normalizer", trained(texts, sequence([split(Regex(QWEN35)), no_regex()]), odd)
    yield "o200k", trained(texts, sequence([split(Regex(O200K)), no_regex()]), odd, post=template)
    yield "DeepSeek", trained(
        texts,
        sequence([split(Regex(r"\p{N}{1,3}")), split(Regex("[一-龥぀-ゟ゠-ヿ]+")), split(Regex(DEEPSEEK)), no_regex()]),
        chat)
    yield "digits in runs, prefix space", trained(
        texts, sequence([pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel()]), odd)
    for behavior in "removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous":
        for invert in False, True:
            yield f"Split {behavior}, invert {invert}", trained(
                texts, sequence([split(Regex(r"\s|[a-f]*|\d"), behavior, invert), no_regex()]), plain, vocab_size=400)
        yield f"Split string {behavior}", trained(
            texts, sequence([split("e", behavior), no_regex()]), plain, vocab_size=400)
    words = [text for text in texts if text.isascii()]
    yield "code points, unknown fused", trained(
        words, None, [special("<unk>")] + odd[1:], alphabet=False, vocab_size=500, fuse_unk=True,
        unk_token="<unk>", byte_tokens=["<unk>"])
    yield "code points, unknown apart", trained(
        words, None, [special("<unk>")] + odd[1:], alphabet=False, vocab_size=500, unk_token="<unk>",
        byte_tokens=["<unk>"])
    yield "code points, byte fallback", trained(
        words, None, odd, alphabet=False, vocab_size=500, byte_fallback=True,
        byte_tokens=["<0x%02X>" % byte for byte in range(256)])


def real_texts(generator, count):
    """Pieces of real texts, of many languages."""
    pieces = []
    catalogues = glob.glob("/usr/share/locale/*/LC_MESSAGES/*.mo") + glob.glob("/usr/share/locale-langpack/*/*/*.mo")
    generator.shuffle(catalogues)
    for path in catalogues[:1500]:
        try:
            with open(path, "rb") as file:
                messages = list(gettext.GNUTranslations(file)._catalog.values())
        except (OSError, ValueError, UnicodeError, SyntaxError, IndexError):
            continue
        generator.shuffle(messages)
        pieces += [message for message in messages[:60] if isinstance(message, str) and message]
    library = os.path.dirname(os.__file__)
    files = glob.glob(library + "/*.py") + glob.glob(library + "/*/*.py") + glob.glob(library + "/test/cjkencodings/*")
    files += glob.glob("/usr/share/doc/**/*.txt", recursive=True)
    pages = glob.glob("/usr/share/man/**/*.gz", recursive=True)
    for path in generator.sample(files, min(len(files), 500)) + generator.sample(pages, min(len(pages), 500)):
        try:
            with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
                text = file.read(200000).decode("utf-8", "ignore")
        except OSError:
            continue
        for _ in range(30):
            start = generator.randrange(max(1, len(text)))
            pieces.append(text[start : start + generator.choice([20, 80, 300, 1500])])
    dictionary = "/usr/share/dictd/devil.dict.dz"
    if os.path.exists(dictionary):
        text = gzip.open(dictionary).read().decode("utf-8", "replace")
        pieces += [text[i : i + 700] for i in range(0, len(text), 700)]
    generator.shuffle(pieces)
    return pieces[:count]


PLANES = [(0, 0x80), (0x80, 0x250), (0x250, 0x3000), (0x3000, 0xD800), (0xE000, 0x10000), (0x10000, 0x20000),
          (0x20000, 0x33480), (0xE0000, 0xE0200), (0x33480, 0x110000)]
SOUP = list(" \t\n\r\v\f\u00a0\u2003\u3000\u200b\u180e\u0085\u2028'’`\"0123456789٣५Ⅷ½²ſsStTrReEvVmMlLdD.,!?-_")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|bos|>", "<|end|>", "<mask>", "word", "<|", "<tool call>",
            "ünï", "<unk>", "<|im_", "Ġ", "<0x41>", "\ufffd", "\x00", "u\u0308ni\u0308", " "]


def synthetic(generator, count):
    def point():
        low, high = generator.choice(PLANES)
        return chr(generator.randrange(low, high))

    def one(kind):
        length = generator.choice([1, 2, 3, 5, 8, 20, 60])
        if kind == 0:
            return "".join(point() for _ in range(length))
        if kind == 1:
            return "".join(generator.choice(SOUP) for _ in range(length))
        if kind == 2:
            return "".join(generator.choice([generator.choice(SPECIALS), generator.choice(SOUP), point(), "a"])
                           for _ in range(length))
        if kind == 3:
            low, high = generator.choice(PLANES)
            start = generator.randrange(low, high)
            text = "".join(chr(min(start + generator.randrange(40), 0x10FFFF)) for _ in range(length))
            return "".join(c for c in text if not 0xD800 <= ord(c) < 0xE000)
        if kind == 4:
            return unicodedata.normalize("NFD", "".join(chr(generator.choice(
                [generator.randrange(0xC0, 0x250), generator.randrange(0x1E00, 0x2000),
                 generator.randrange(0xAC00, 0xD7A4), generator.randrange(0x300, 0x370),
                 generator.randrange(0x900, 0xE00)])) for _ in range(length)))
        letters = generator.choice(["a", "ab", "abc", "éa", "中文", "0", " ", "\n ", "😀", "'s", "न\u0940"])
        return "".join(generator.choice(letters) for _ in range(generator.choice([100, 1000, 5000])))

    return [one(5 if i % 200 == 0 else i % 5) for i in range(count)]


def ask(driver, tokenizer, texts):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokenizer.json")
        tokenizer.save(path)
        encoded = [text.encode() for text in texts]
        asked = b"".join(struct.pack("<I", len(text)) + text for text in encoded)
        answer = subprocess.run([driver, path], input=asked, stdout=subprocess.PIPE, check=True).stdout
    at = 0
    for text in encoded:
        (count,) = struct.unpack_from("<I", answer, at)
        numbers = struct.unpack_from("<%di" % (3 * count), answer, at + 4)
        at += 4 + 12 * count
        decoded = []
        for _ in range(3):
            (size,) = struct.unpack_from("<I", answer, at)
            decoded.append(answer[at + 4 : at + 4 + size].decode())
            at += 4 + size
        yield text, numbers[0::3], numbers[1::3], numbers[2::3], decoded
    assert at == len(answer)


def characters(encoded, begins, ends):
    """Byte ranges as ranges of the characters they touch."""
    starts = [i for i, byte in enumerate(encoded) if byte & 0xC0 != 0x80]
    at_byte, index = [0] * (len(encoded) + 1), -1
    for i, byte in enumerate(encoded):
        index += byte & 0xC0 != 0x80
        at_byte[i] = index
    at_byte[len(encoded)] = len(starts)
    return [(at_byte[b], at_byte[b] if b == e else at_byte[e - 1] + 1) for b, e in zip(begins, ends)]


LETTERS = {}
NEXT = 256
for BYTE in range(256):
    printable = 0x21 <= BYTE <= 0x7E or 0xA1 <= BYTE <= 0xAC or 0xAE <= BYTE
    LETTERS[BYTE] = chr(BYTE if printable else NEXT)
    NEXT += not printable


def drops_bytes(tokenizer, encoded, vocabulary):
    byte_level = "ByteLevel" in str(tokenizer.pre_tokenizer)
    return byte_level and any(LETTERS[byte] not in vocabulary for byte in set(encoded))


def spells_text(tokenizer, encoded, ids, begins, ends, vocabulary):
    """Every token that is no added one spells the bytes of its range, dropped ones left out; ranges follow each other."""
    added = tokenizer.get_added_tokens_decoder()
    end = 0
    for id, b, e in zip(ids, begins, ends):
        spelled = "".join(LETTERS[byte] for byte in encoded[b:e] if LETTERS[byte] in vocabulary)
        if b < end or id not in added and tokenizer.id_to_token(id) != spelled:
            return False
        end = e
    return True


def compare(name, tokenizer, driver, texts):
    tokenizer = Tokenizer.from_str(tokenizer.to_str())   # what the file says, not what the calls left behind
    differences = 0
    references = tokenizer.encode_batch(texts)
    vocabulary = tokenizer.get_vocab()
    for text, reference, (encoded, ids, begins, ends, decoded) in zip(texts, references, ask(driver, tokenizer, texts)):
        added = reference.special_tokens_mask
        offsets = [(0, 0) if mask else pair for pair, mask in zip(reference.offsets, added)]
        ours = characters(encoded, begins, ends)
        if len(ours) == len(added):
            ours = [(0, 0) if mask and b == e else pair for pair, mask, b, e in zip(ours, added, begins, ends)]
        if drops_bytes(tokenizer, encoded, vocabulary):
            ours = offsets if spells_text(tokenizer, encoded, ids, begins, ends, vocabulary) else ours
        whole = tokenizer.decode(reference.ids, skip_special_tokens=False)
        short = tokenizer.decode(reference.ids, skip_special_tokens=True)
        expected = (reference.ids, offsets, [whole, short, whole])
        if (list(ids), ours, decoded) != expected:
            differences += 1
            if differences <= 3:
                print("%s: %r\n  reference %r\n  ours      %r" % (
                    name, text[:300], tuple(str(e)[:600] for e in expected),
                    tuple(str(e)[:600] for e in (list(ids), ours, decoded))))
    return differences


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("gguf")
    parser.add_argument("--strings", type=int, default=100000, help="for SmolLM2; the small ones get a tenth")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="only tokenizers with this in their name")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    real = real_texts(generator, options.strings // 2)
    texts = [text for text in real + synthetic(generator, options.strings - len(real)) if text]
    generator.shuffle(texts)
    total = failed = 0
    for name, tokenizer in all_tokenizers(options.gguf, real[:2000]):
        if options.only and options.only not in name:
            continue
        chosen = texts if name == "SmolLM2" else generator.sample(texts, len(texts) // 10)
        start = time.time()
        differences = compare(name, tokenizer, options.driver, chosen)
        print("%-45s %7d strings, %d differences (%.0f s)" % (name, len(chosen), differences, time.time() - start))
        total += len(chosen)
        failed += differences
    print("%d strings (%d of them real texts), %d differences" % (total, len(real), failed))
    return 1 if failed or not total else 0


if __name__ == "__main__":
    sys.exit(main())
