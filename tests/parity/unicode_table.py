"""Writes data/unicode_table.cpp: the character classes that `tokenizers` uses, asked from `tokenizers` itself.

    /opt/ref/bin/python tests/parity/unicode_table.py > data/unicode_table.cpp && clang-format-14 -i data/unicode_table.cpp

Its regex engine (Oniguruma) is asked for every general category of every code point, so the table has the Unicode
version of the reference (16.0) and not that of a library of this machine. Python's unicodedata must be at version 14.0
(the one PCRE2 10.42 has): the second table lists what was assigned later.
"""

import unicodedata

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
COARSE = {"L": "letter", "M": "mark", "Nd": "digit", "Nl": "letter_number", "No": "other_number", "Pc": "connector"}


def categories():
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    table = ["Cn"] * 0x110000
    for name in CATEGORIES:
        keep = Split(Regex(r"\P{%s}" % name), "removed")
        for first in range(0, len(points), 4096):
            chunk = points[first : first + 4096]
            for _, (begin, end) in keep.pre_tokenize_str("".join(map(chr, chunk))):
                for point in chunk[begin:end]:
                    table[point] = name
    return table


def coarse(category):
    return COARSE.get(category) or COARSE.get(category[0]) or "other"


def ranges(points, label=lambda point: None):
    found = []
    for point in points:
        if found and found[-1][1] == point - 1 and label(found[-1][1]) == label(point):
            found[-1][1] = point
        else:
            found.append([point, point])
    return [tuple(pair) for pair in found]


def print_rows(head, items):
    print(head)
    line = "       "
    for item in items:
        if len(line) + len(item) > 116:
            print(line)
            line = "       "
        line += " " + item + ","
    print(line + "\n    };")


def main():
    assert unicodedata.unidata_version == "14.0.0"
    table = categories()
    print('#include "data/unicode.h"\n')
    print("// Made by tests/parity/unicode_table.py; do not edit.\n\nnamespace trainer::unicode {\n")
    print("const std::vector<Range>& ranges(Kind kind) {\n    // clang-format off")
    for kind in sorted(set(COARSE.values())):
        members = [point for point, category in enumerate(table) if coarse(category) == kind]
        print_rows("    static const std::vector<Range> %s = {" % kind, ["{0x%X,0x%X}" % pair for pair in ranges(members)])
    print("    static const std::vector<Range> none;\n    // clang-format on\n    switch (kind) {")
    for kind in sorted(set(COARSE.values())):
        print("        case Kind::%s: return %s;" % (kind, kind))
    print("        case Kind::other: break;\n    }\n    return none;\n}\n")
    print("const std::vector<Added>& added_after_14() {\n    // clang-format off")
    late = [
        point
        for point, category in enumerate(table)
        if category != "Cn" and not 0xD800 <= point < 0xE000 and unicodedata.category(chr(point)) == "Cn"
    ]
    rows = ['{0x%X,0x%X,"%s"}' % (begin, end, table[begin]) for begin, end in ranges(late, lambda point: table[point])]
    print_rows("    static const std::vector<Added> table = {", rows)
    print("    // clang-format on\n    return table;\n}\n\n}   // namespace trainer::unicode")


main()
