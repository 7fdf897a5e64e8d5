#!/usr/bin/env python3
"""Turns The Devil's Dictionary, as Debian's dict-devil package holds it, into question and answer chats.

    apt-get install dict-devil
    python3 make.py [--source /usr/share/dictd] [--out .]

Writes train.jsonl and valid.jsonl, the same bytes every time. Needed only to make the dataset again: the two files are
committed. README.md says what the rows look like.
"""

import argparse
import gzip
import hashlib
import json
import pathlib
import re

VALID_PERCENT = 10
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

# Bierce prints every headword in capitals. In running text these keep some; all others become lower case.
CAPITALISED = {
    name.replace("_", " ").upper(): name.replace("_", " ")
    for name in """
    African Allah April_fool Australia Avernus Baal Bacchus Benedictines Berenice's_hair Brahma Caaba Carmelite
    Cartesian Cerberus Christian Clio Cremona Cupid Decalogue Druids Elysium Eucharist Freemasons Gnostics Graces
    Hades Hebrew I J K Koran Laocoon LL.D. Magdalene Malthusian Mammon Manicheism Monday Newtonian November Occident
    Olympian Philistine Platonic Populist Portuguese Pre-Adamite Presbyterian Pyrrhonism R.I.P. Roundhead Russian
    Sabbath Satan Scriptures T Trinity un-American Unitarian Universalist W Wall_Street Washingtonian X Yankee
    Zanzibari Zeus
    """.split()
}
FLY = "TZETZE (or TSETSE) FLY"
HEADWORD = re.compile(rf"{re.escape(FLY)}|[A-Z][A-Z'\-]*(?:\.[A-Z]+)*\.?(?: [A-Z][A-Z'\-]+)*(?=[ ,.?\n])\.?")
OTHER_SPELLING = re.compile(r"(?: or|,) ([A-Z]{2,})")

PARAGRAPH_INDENT = 4
SIGNATURE_INDENT = 30


def read_entries(source):
    """The text of every entry, in the order of the book, each once."""
    text = gzip.open(source / "devil.dict.dz").read().decode("ascii")
    places = {}
    for line in (source / "devil.index").read_text("ascii").splitlines():
        word, *numbers = line.split("\t")
        if not word.startswith("00database"):
            begin, length = (sum(DIGITS.index(d) * 64**i for i, d in enumerate(reversed(n))) for n in numbers)
            places[begin] = begin + length
    begins = sorted(places)
    ends = [min(places[begin], following) for begin, following in zip(begins, begins[1:] + [len(text)])]
    return list(dict.fromkeys(text[begin:end].strip() for begin, end in zip(begins, ends)))


def natural_case(headword):
    return CAPITALISED.get(headword, headword.lower())


def sentence_case(headword):
    name = natural_case(headword)
    return name[0].upper() + name[1:]


def joined(lines):
    """Undoes line wrapping; a word broken at its own hyphen is made whole."""
    text = ""
    for line in lines:
        glue = "" if not text or (text.endswith("-") and not text.endswith("--")) else " "
        text += glue + line.strip()
    return text


def paragraphs(lines):
    """The lines of one block (between empty lines) as paragraphs of prose, or as they stand for verse."""
    indents = [len(line) - len(line.lstrip()) for line in lines]
    lengths = [len(line.strip()) for line in lines[:-1]]
    small = sum(line.strip()[0].islower() for line in lines[1:])
    wrapped = small > 0 and (sum(lengths) / len(lengths) >= 48 or small / len(lengths) > 0.4)
    if min(indents) >= PARAGRAPH_INDENT and not wrapped:
        return [line.strip() for line in lines]
    # Three ways of the book: text at the margin with indented paragraphs; a quotation set in, likewise; a dialogue, whose
    # speeches hang.
    hangs = indents[0] == PARAGRAPH_INDENT and PARAGRAPH_INDENT < max(indents)
    start = min(indents) if hangs else max(indents) if max(indents) > min(indents) else -1
    found = []
    for line, indent in zip(lines, indents):
        if not found or indent == start:
            found.append([])
        found[-1].append(line)
    return [joined(part) for part in found]


def body(text):
    """The text of an entry without its headword: blocks parted by an empty line, signatures as "-- Name"."""
    blocks = []
    for block in re.split(r"\n[ \t]*\n", text):
        lines = [line.rstrip() for line in block.split("\n") if line.strip()]
        if not lines:
            continue
        signatures = []
        while len(lines) > 1 and len(lines[-1]) - len(lines[-1].lstrip()) >= SIGNATURE_INDENT:
            signatures.insert(0, "-- " + lines.pop().strip())
        blocks.append("\n".join(paragraphs(lines) + signatures))
    text = "\n\n".join(blocks)
    # Marks of the typed edition: _italics_, {references}, and its typist's own remarks.
    text = re.sub(r"[_{}]", "", text).replace(" [sic]", "")
    return re.sub(r" {2,}", " ", text)


def chat(entry):
    """The headword as the book has it, in natural case, and its definition."""
    headword = HEADWORD.match(entry).group(0)
    rest = entry[len(headword) :]
    if headword.endswith(".") and headword not in CAPITALISED:
        headword, rest = headword[:-1], "." + rest
    shown = sentence_case(headword)
    if headword == FLY:
        headword, shown = "TZETZE FLY", "Tzetze (or tsetse) fly"
    elif other := OTHER_SPELLING.match(rest):
        shown += other.group(0).lower()
        rest = rest[other.end() :]
    rest = re.sub(r"^,(?=\S)|^(?= n\.)", ", ", rest).replace(",  ", ", ", 1)
    return natural_case(headword), body(shown + rest)


def is_valid(headword):
    return int(hashlib.sha256(headword.encode()).hexdigest(), 16) % 100 < VALID_PERCENT


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, default="/usr/share/dictd")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    options = parser.parse_args()
    definitions = {}
    for entry in read_entries(options.source):
        headword, definition = chat(entry)
        definitions.setdefault(headword, []).append(definition)
    splits = {"train.jsonl": [], "valid.jsonl": []}
    for headword, texts in definitions.items():
        row = {
            "messages": [
                {"role": "user", "content": f"Define {headword}" + ("" if headword.endswith(".") else ".")},
                {"role": "assistant", "content": "\n\n".join(texts)},
            ]
        }
        splits["valid.jsonl" if is_valid(headword) else "train.jsonl"].append(json.dumps(row, ensure_ascii=False) + "\n")
    for name, rows in splits.items():
        content = "".join(rows).encode()
        (options.out / name).write_bytes(content)
        print(f"{name}: {len(rows)} rows, {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
