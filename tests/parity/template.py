"""Our chat templates against transformers' own environment, byte by byte.

    /opt/ref/bin/python tests/parity/template.py --driver build/…/template_driver [--model FILE.gguf] [--rounds 3000]

The driver is tests/parity/template_driver.cpp. Three comparisons: whole templates over random conversations, small
random expressions (errors must occur in both), and whether `pieces` names exactly the bytes a message gave.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import warnings

from transformers.utils.chat_template_utils import _alias_reasoning_fields, _compile_jinja_template
from transformers.utils.chat_template_utils import _render_with_assistant_indices

from template_corpus import EXPRESSION_CONTEXT, TEMPLATES, expression, statement_template

warnings.filterwarnings("ignore")

# What differs and why it may (the counts are printed):
# - values that print an address;
# - integers beyond 64 bits;
# - slices of a literal that cannot be sliced: Jinja folds constants by other rules than it runs;
# - "safe" makes Markup, whose + and escape treat it as HTML: here it stays a string;
# - attributes such as __class__ of an undefined value, which Jinja finds on its own Undefined: an error here;
# - a filter that does not exist, in a loop inside of a condition: Jinja refuses to compile, we fail when it is reached.
ADDRESS = re.compile(r"(a|ZZ)t 0x[0-9a-f]+>|<TemplateReference|<class |<built-in|<bound method|<function|<jinja2", re.IGNORECASE)
OUR_LIMITS = re.compile(r"does not fit in 64 bits|there is no (filter|test) |(int|bool|float|NoneType|dict)' object cannot be sliced")


def argued(template, expected, ours):
    if isinstance(expected, Exception):
        return "No filter named" in str(expected) or "No test named" in str(expected)
    return bool(ADDRESS.search(expected) or OUR_LIMITS.search(ours.get("error", "")) or "safe" in template or "__" in template or "Markup(" in expected)


class Driver:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def render(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the driver ended on {question!r}")
        return json.loads(line)


def reference(template, messages, tools, documents, prompt, variables):
    compiled = _compile_jinja_template(template)
    return _render_with_assistant_indices(
        compiled_template=compiled, messages=_alias_reasoning_fields(messages), tools=tools, documents=documents,
        add_generation_prompt=prompt, **variables)


WORDS = ["hello", "wörld", "日本", "🙂", "\u200b", "\u00a0", " ", "\n", "\t", "<think>", "</think>", "{{ x }}", "{% if %}",
         "<|im_end|>", "'", '"', "\\", "&<>", "\x1c", "\u2028", "İ", "ß", "e\u0301", "\r\n", "0", "None", "</tool_call>", "\x7f"]


def text(rng, alphabet=None):
    if rng.random() < 0.08:
        return ""
    if alphabet:
        return "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 12)))
    return "".join(rng.choice(WORDS) + rng.choice(["", " ", "\n"]) for _ in range(rng.randrange(1, 9)))


def value(rng, depth=0, alphabet=None):
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 0:
        return rng.choice([0, 1, -7, 2**40, 3.0, 1e-7, 0.1, 1e22, -2.5])
    if kind == 1:
        return rng.choice([True, False, None])
    if kind < 6:
        return text(rng, alphabet)
    if kind == 6:
        return [value(rng, depth + 1, alphabet) for _ in range(rng.randrange(4))]
    return {text(rng, alphabet) or "k": value(rng, depth + 1, alphabet) for _ in range(rng.randrange(4))}


def tool_call(rng, alphabet=None):
    arguments = {(text(rng, alphabet) or "k"): value(rng, 1, alphabet) for _ in range(rng.randrange(4))}
    return {"type": "function", "id": "call%05d" % rng.randrange(10**5),
            "function": {"name": "f" if alphabet is None else text(rng, alphabet) or alphabet[0], "arguments": arguments}}


def conversation(rng, alphabets=None):
    messages = []

    def alphabet():
        return alphabets[len(messages)] if alphabets else None

    def add(role, **fields):
        content = text(rng, alphabet())
        if rng.random() < 0.1:
            content = [{"type": "text", "text": text(rng, alphabet())} for _ in range(rng.randrange(1, 3))]
        messages.append({"role": role, "content": content, **fields})

    if rng.random() < 0.5:
        add(rng.choice(["system", "system", "developer"]))
    for _ in range(rng.randrange(0 if messages else 1, 4)):
        add("user")
        fields = {}
        if rng.random() < 0.25:
            fields["tool_calls"] = [tool_call(rng, alphabet()) for _ in range(rng.randrange(1, 3))]
        if rng.random() < 0.15:
            fields[rng.choice(["reasoning_content", "thinking"])] = text(rng, alphabet())
        if rng.random() < 0.9:
            add("assistant", **fields)
            if "tool_calls" in fields and rng.random() < 0.8:
                add("tool", name="f", tool_call_id="call00001")
            if rng.random() < 0.1:
                messages[-1]["content"] = None
    return messages


def tools(rng):
    if rng.random() < 0.6:
        return None
    return [{"type": "function", "function": {"name": "get_%d" % i, "description": text(rng), "parameters": {
        "type": "object", "properties": {text(rng) or "p": {"type": rng.choice(["string", "integer", ["string", "null"]]),
                                                              "description": text(rng), "default": value(rng)}
                                         for _ in range(rng.randrange(3))}, "required": []}}}
            for i in range(rng.randrange(1, 3))]


VARIABLES = {"bos_token": "<s>", "eos_token": "</s>", "date_string": "26 Jul 2024"}


def compare(driver, template, messages, tool_list=None, documents=None, prompt=False, variables=VARIABLES):
    """The complaint, or none; and whether the reference failed."""
    try:
        expected, spans = reference(template, messages, tool_list, documents, prompt, variables)
    except RecursionError:
        return None, True
    except Exception as error:
        expected = error
    question = dict(template=template, messages=messages, add_generation_prompt=prompt, variables=variables)
    if tool_list is not None:
        question["tools"] = tool_list
    if documents is not None:
        question["documents"] = documents
    ours = driver.render(**question)
    if isinstance(expected, Exception):
        same = "error" in ours
    else:
        same = ours.get("text") == expected
    if not same:
        if argued(template, expected, ours):
            compare.argued += 1
            return None, False
        return f"reference: {expected!r}\n  ours: {ours.get('text', ours.get('error'))!r}", False
    if isinstance(expected, Exception):
        return None, True
    encoded = [[len(expected[:a].encode()), len(expected[:b].encode())] for a, b in spans]
    if [span for span in encoded if span[0] < span[1]] != ours["generation"]:
        return f"generation: {encoded}, ours {ours['generation']}", False
    return None, False


compare.argued = 0


def whole_templates(driver, templates, rounds, rng):
    bad = 0
    for name, template in templates.items():
        failed = 0
        for _ in range(rounds):
            messages = conversation(rng)
            tool_list = tools(rng)
            complaint, error = compare(driver, template, messages, tool_list, None, rng.random() < 0.5)
            failed += error
            if complaint:
                bad += 1
                if bad < 10:
                    print(f"{name}: {json.dumps(messages)}\n  {complaint}")
        print(f"{name}: {rounds} conversations, {failed} refused by both")
    return bad


def expressions(driver, rounds, rng):
    bad = failed = 0
    for _ in range(rounds):
        template = statement_template(rng) if rng.random() < 0.3 else "{{ " + expression(rng) + " }}"
        complaint, error = compare(driver, template, [{"role": "user", "content": "x"}], variables=EXPRESSION_CONTEXT)
        failed += error
        if complaint:
            bad += 1
            if bad < 40:
                print(f"{template!r}\n  {complaint}")
    print(f"expressions: {rounds}, {failed} are errors in both")
    return bad


def provenance(driver, templates, rounds, rng):
    """Every message writes in letters of its own: the pieces must hold all of them and no letters of others."""
    alphabets = [[chr(0x4E00 + 64 * i + k) for k in range(48)] for i in range(16)]
    owner = {c: i for i, letters in enumerate(alphabets) for c in letters}
    bad = pieces = 0
    for name, template in templates.items():
        for _ in range(rounds):
            messages = conversation(rng, alphabets)
            ours = driver.render(template=template, messages=messages, variables=VARIABLES)
            if "error" in ours:
                continue
            encoded = ours["text"].encode()
            seen = [-1] * len(encoded)
            last = 0
            for begin, end, message in ours["pieces"]:
                pieces += 1
                bad += not last <= begin < end <= len(encoded)
                last = end
                seen[begin:end] = [message] * (end - begin)
            at = 0
            for c in ours["text"]:
                size = len(c.encode())
                tags = set(seen[at:at + size])
                wrong = tags != {owner[c]} if c in owner else len(tags) != 1
                if wrong:
                    bad += 1
                    print(f"{name}: {c!r} at {at} of {ours['text']!r} belongs to {tags}")
                    break
                at += size
            # A string content that is written whole is one piece of exactly its text.
            for i, message in enumerate(messages):
                content = message["content"]
                if isinstance(content, str) and content and "content']" in template and name in ("chatml", "SmolLM2"):
                    own = [encoded[b:e].decode() for b, e, m in ours["pieces"] if m == i]
                    if content not in own:
                        bad += 1
                        print(f"{name}: {content!r} is not among {own}")
    print(f"provenance: {pieces} pieces")
    return bad


def gguf_template(path):
    from gguf import GGUFReader
    field = GGUFReader(path).fields["tokenizer.chat_template"]
    return bytes(field.parts[field.data[0]]).decode()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", required=True)
    parser.add_argument("--model", help="a GGUF file whose own template is compared too")
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    driver = Driver(options.driver)
    templates = dict(TEMPLATES)
    if options.model:
        templates = {"SmolLM2": gguf_template(options.model), **templates}
    bad = whole_templates(driver, templates, options.rounds, rng)
    bad += provenance(driver, templates, max(1, options.rounds // 10), rng)
    bad += expressions(driver, 10 * options.rounds, rng)
    print(f"{bad} differences, {compare.argued} argued ones")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
