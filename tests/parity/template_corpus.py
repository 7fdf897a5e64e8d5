"""Templates and random expressions for template.py. All templates are written for this test, in the manner of the
model families they are named after."""

TEMPLATES = {
    "chatml": """{%- for message in messages %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{% endif %}
""",
    "chatml-tracked": """{% for m in messages %}
    {%- if m.role == 'assistant' -%}
<|im_start|>assistant
{% generation %}{{ m['content'] | string | trim }}<|im_end|>
{% endgeneration %}
    {%- else %}
<|im_start|>{{ m.role }}
{{ m.content if m.content is string else m.content | map(attribute='text') | join('|') }}<|im_end|>
    {% endif -%}
{% endfor %}""",
    "llama-3.1": """{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{#- The system message comes first. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] if messages[0]['content'] is string else messages[0]['content'][0].text %}
    {%- set system_message = system_message|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ (message['content'] | string | trim) + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {%- for arg_name, arg_val in tool_call.arguments | items %}
            {{- arg_name + '="' ~ arg_val ~ '"' }}
            {%- if not loop.last %}{{- ", " }}{%- endif %}
        {%- endfor %}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "gemma": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}
{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '\\n' }}{% if message['content'] is string %}{{ message['content'] | trim }}{% elif message['content'] is iterable %}{% for item in message['content'] %}{% if item['type'] == 'image' %}<image>{% else %}{{ item['text'] | trim }}{% endif %}{% endfor %}{% endif %}{{ '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}""",
    "mistral": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0, calls=false) %}
{%- for message in loop_messages %}
    {%- if message.tool_calls is defined and message.tool_calls is not none %}{%- set ns.calls = true %}
    {%- elif message["role"] == "user" or message["role"] == "assistant" %}{%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token ~ user_messages | length ~ ns.index ~ ns.calls }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}
                    {%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}{%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " ~ system_message ~ "\\n\\n" ~ message["content"] ~ "[/INST]" }}
        {%- else %}{{- "[INST] " ~ message["content"] ~ "[/INST]" }}{%- endif %}
    {%- elif (message.tool_calls is defined and message.tool_calls is not none) %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}{{- raise_exception("Tool call IDs have length 9!") }}{%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}{{- " " ~ message["content"]|string|trim ~ eos_token}}
    {%- elif message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}{%- set content = message.content.content %}
        {%- else %}{%- set content = message.content %}{%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + ", " }}
        {{- '"call_id": "' + message.tool_call_id[-9:] + '"}[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
""",
    "phi-3": "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
    "qwen3": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}{{- '<|im_start|>' + message.role + '\\n' + content }}{%- endif %}
        {%- else %}{{- '<|im_start|>' + message.role + '\\n' + content }}{%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<tool_call>\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}""",
    "deepseek": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<User>' ~ message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<Assistant>' ~ content + '<end>'}}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- set ns.is_first = not ns.is_first -%}{{'<out>' ~ message['content'] ~ '</out>'}}{%- endif %}{%- endfor -%}{% if ns.is_tool %}{{'<ends>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<Assistant><think>\\n'}}{% endif %}""",
    "macros": """{%- macro render(value, level=0) -%}
{%- if value is string -%}"{{ value | replace('"', "'") }}"
{%- elif value is mapping -%}
{ {%- for k, v in value | dictsort %}{{ k|upper }}:{{ render(v, level + 1) }}{{ ',' if not loop.last }}{% endfor -%} }
{%- elif value is boolean or value is none -%}{{ value }}
{%- elif value is number -%}{{ '%.3f' % value }}
{%- elif value is iterable -%}[{% for v in value %}{{ loop.cycle('a', 'b') }}{{ render(v, level=level + 1) }}{% if loop.nextitem is defined %};{% endif %}{% endfor %}]
{%- endif -%}
{%- endmacro -%}
{% macro box(title) %}<{{ title }}>{{ caller(title|length) }}</{{ title }}>{% endmacro -%}
{% for message in messages recursive %}
{% call(n) box(message.role) -%}{{ n }}{{ render(message) }}{{- message|tojson(indent=1) }}{% endcall %}
{% filter indent(2) %}{{ message.content }}
{{ message.content|string|title }}{% endfilter %}
{% set block | upper %}{{ message.content }}{{ loop.revindex }}{% endset %}
{{ block }}{{ block|length }}{{ message }}
{% raw %}{{ raw }}{% endraw %}
{% if loop.index > 4 %}{% break %}{% elif loop.changed(message.role) %}{% continue %}{% endif %}
{{ message.content|string|replace('e', '3')|truncate(20) }}{{ (message.content|string)[::-1] }}{{ (message.content|string)[1:-1:2] }}
{{ (message.content|string).split() }}{{ (message.content|string).split(' ', 1)|join('+') }}{{ (message.content|string).splitlines() }}
{% endfor %}""",
}

EXPRESSION_CONTEXT = {
    "s": "Hello, wörld! ", "e": "", "u": "ÀéßǆİΑ日本🙂", "q": "it's \"x\"\n\t\\\u200b\x00", "i": 7, "neg": -3, "z": 0, "f": 2.5,
    "g": 1e-7, "t": True, "b": False, "n": None, "l": [3, 1, 2], "el": [], "ls": ["b", "A", "c"], "nest": [[1, "a"], [2, "b"]],
    "d": {"a": 1, "b": {"c": [1, 2, {"x": "y"}]}, "items": "own"}, "ed": {},
    "rows": [{"k": "x", "v": 2}, {"k": "Y", "v": 1}, {"k": "x", "v": None}],
}

ATOMS = list(EXPRESSION_CONTEXT) + ["nope", "1", "0", "-1", "2", "10", "3.5", "1e3", "'a'", "'b,c'", "' x '", "'%s|%s'", "''", "true",
                                    "none", "[1, 'a']", "(1, 2)", "{'a': 1, 'z': [none]}", "range(4)", "()", "[]", "{}", "d.b", "d['b'].c", "l[0]",
                                    "rows[1].k", "'{}-{x}'", "d.a", "nest[1]", "m.x"]
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
FILTERS = ["trim", "upper", "lower", "title", "capitalize", "length", "count", "list", "string", "first", "last", "reverse|list", "sort", "join",
           "join('-')", "join(', ', attribute='k')", "default('D')", "default('D', true)", "d('x')", "tojson", "tojson(indent=2)",
           "tojson(sort_keys=true)", "tojson(ensure_ascii=true)", "tojson(separators=(',', ':'))", "items|list", "dictsort", "dictsort(by='value')", "unique|list",
           "map('upper')|list", "map(attribute='k')|list", "map(attribute='q', default='-')|join", "select|list", "reject('none')|list",
           "selectattr('k', 'equalto', 'x')|list", "rejectattr('v')|list", "selectattr('v', 'defined')|map(attribute='v')|list", "min", "max", "sum",
           "sum(attribute='v')", "abs", "int", "float", "round", "round(1)", "round(1, 'floor')", "replace('a', 'ZZ')", "replace('', '.')",
           "replace('l', 'L', 1)", "indent", "indent(2, true)", "indent('>', blank=true)", "center(12)", "truncate(5)", "truncate(6, true, '~')", "wordcount",
           "escape", "e", "safe", "batch(2)|list", "attr('a')", "format(1, 2)", "sort(reverse=true)", "sort(attribute='v')", "sort(attribute='k,v')",
           "max(attribute='v')", "int(5)", "int(base=16)", "float(1.5)", "trim('xH')", "map('int')|list", "map('default', 0)|list", "reverse", "nosuch"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping", "iterable", "sequence", "odd",
         "even", "divisibleby 2", "divisibleby(0)", "equalto 1", "eq('a')", "sameas none", "in [1, 2, 'a']", "lower", "upper", "callable", "ge 1", "lt(3)", "ne 1",
         "filter", "not defined", "not string", "not none", "nosuch"]
METHODS = ["strip()", "lstrip()", "rstrip('! ')", "strip('Hd')", "upper()", "lower()", "title()", "capitalize()", "swapcase()", "split()", "split(',')",
           "split(', ', 1)", "split(maxsplit=1)", "rsplit('l', 1)", "rsplit(none, 1)", "splitlines()", "replace('l', 'LL')", "replace('', '-', 2)", "startswith('H')",
           "startswith(('x', 'He'))", "endswith('! ')", "endswith('!', 0, -1)", "find('l')", "rfind('l')", "index('o')", "count('l')", "join(['a', 'b'])", "join(ls)",
           "items()", "keys()", "values()", "get('a')", "get('nope')", "get('nope', 5)", "items()|list", "format(1, x=2)", "format(*l)", "append(1)", "pop()", "update({})",
           "isdigit()", "isalpha()", "isalnum()", "isspace()", "islower()", "isupper()", "zfill(12)", "center(15)", "ljust(20, '.')", "rjust(20)", "partition(',')",
           "rpartition('o')", "removeprefix('He')", "removesuffix(' ')", "index(1)", "count(1)", "copy()", "nosuch()", "__class__", "split('')", "count('')", "find('')"]
SUBSCRIPTS = ["[0]", "[-1]", "[1:]", "[:-1]", "[::-1]", "[1:3]", "[::2]", "[-2:]", "[5]", "['a']", "['k']", ".a", ".b.c", ".k", "[i]", "[:i]", "[none:2]", "[::0]", "[3:1]",
              "[10:-10:-2]", ".0", "[t]", "[f]", "[n]"]


def expression(rng, depth=0):
    choice = rng.random()
    if depth >= 3 or choice < 0.22:
        return rng.choice(ATOMS)
    if choice < 0.36:
        return f"({expression(rng, depth + 1)} {rng.choice(BINARY)} {expression(rng, depth + 1)})"
    if choice < 0.44:
        return f"{expression(rng, depth + 1)} {rng.choice(BINARY)} {expression(rng, depth + 1)}"
    if choice < 0.62:
        return f"{expression(rng, depth + 1)}|{rng.choice(FILTERS)}"
    if choice < 0.7:
        return f"{expression(rng, depth + 1)} is {rng.choice(TESTS)}"
    if choice < 0.82:
        return f"{rng.choice(ATOMS)}.{rng.choice(METHODS)}"
    if choice < 0.92:
        return f"{rng.choice(ATOMS)}{rng.choice(SUBSCRIPTS)}"
    if choice < 0.94:
        return f"{rng.choice(['not ', '-', '+'])}{expression(rng, depth + 1)}"
    if choice < 0.96:
        return f"[{expression(rng, depth + 1)}, {expression(rng, depth + 1)}]"
    if choice < 0.97:
        return f"{{'k': {expression(rng, depth + 1)}}}"
    return f"({expression(rng, depth + 1)} if {expression(rng, depth + 1)}" + rng.choice(["", f" else {expression(rng, depth + 1)}"]) + ")"


SPACES = ["", " ", "\n", "\n  ", "  \t", "\n\n", " a ", "\na\n  ", "\r\n "]


def tag(rng, body):
    return "{%" + rng.choice(["", "", "-", "+"]) + " " + body + " " + rng.choice(["", "", "-", "+"]) + "%}"


def statement_template(rng, depth=0, names=None):
    # Every name is assigned in one place only: Jinja hides an outer variable from the blocks inside of a scope that
    # assigns to the same name further down, ours does not.
    names = names if names is not None else []
    parts = []

    def fresh():
        names.append(f"v{len(names)}")
        return names[-1]

    def inner():
        return statement_template(rng, depth + 1, names)

    for _ in range(rng.randrange(1, 4)):
        parts.append(rng.choice(SPACES))
        kind = rng.randrange(12 if depth < 3 else 4)
        if kind == 0:
            parts.append("{#" + rng.choice(["", "-", "+"]) + " note " + rng.choice(["", "-", "+"]) + "#}")
        elif kind == 1:
            value = expression(rng, 1)
            parts.append(tag(rng, f"set {fresh()} = {value}"))
        elif kind == 2 or kind == 3:
            shown = rng.choice(["i", "s", "loop.index", "loop", expression(rng, 2)] + names[-3:])
            parts.append("{{" + rng.choice(["", "", "-"]) + " " + shown + " " + rng.choice(["", "-"]) + "}}")
        elif kind == 4:
            parts += [tag(rng, f"if {expression(rng, 2)}"), inner(), tag(rng, "else"), inner(), tag(rng, "endif")]
        elif kind == 5:
            x = fresh()
            parts += [tag(rng, f"for {x} in {rng.choice(['l', 'ls', 'd', 'rows', 'u', 'nope', 'range(3)', expression(rng, 2)])}"
                          + rng.choice(["", "", f" if {x} is defined", " if loop is defined", f" if {x}"])), inner(),
                      rng.choice(["", tag(rng, "if loop.index == 2") + tag(rng, rng.choice(["break", "continue"])) + tag(rng, "endif")]),
                      "{{ loop." + rng.choice(["index0", "last", "first", "length", "revindex", "previtem", "nextitem", f"changed({x})"]) + " }}",
                      rng.choice(["", tag(rng, "else") + inner()]), tag(rng, "endfor")]
        elif kind == 6:
            parts += [tag(rng, "raw"), rng.choice(SPACES), "{{ x }}{%", rng.choice(SPACES), tag(rng, "endraw")]
        elif kind == 7:
            parts += [tag(rng, f"set {fresh()}{rng.choice(['', '|upper', '|trim'])}"), inner(), tag(rng, "endset")]
        elif kind == 8:
            f, a = fresh(), fresh()
            parts += [tag(rng, f"macro {f}({a}, b='B', c={a})"), inner(), "{{ " + a + " }}{{ b }}{{ c }}",
                      rng.choice(["", "{{ varargs }}", "{{ kwargs }}", "{{ caller() }}"]), tag(rng, "endmacro"),
                      rng.choice(["{{ f(1) }}", "{{ f(1, c=i) }}", "{{ f() }}", "{{ f(1, 2, 3, 4) }}", "{{ f(q=1) }}", "{% call f(2) %}in{{ i }}{% endcall %}",
                                  "{{ f }}{{ f.name }}"]).replace("f(", f + "(").replace(" f ", f" {f} ").replace("f.", f + ".")]
        elif kind == 9:
            n, x = fresh(), fresh()
            parts += [tag(rng, f"set {n} = namespace(v=1)"), tag(rng, f"for {x} in l"), tag(rng, f"set {n}.v = {n}.v + {x}"), tag(rng, "endfor"),
                      "{{ " + n + ".v }}{{ " + n + " }}"]
        elif kind == 10:
            parts += [tag(rng, f"filter {rng.choice(['upper', 'indent(2)', 'trim', 'replace(1, 2)'])}"), inner(), tag(rng, "endfilter")]
        else:
            x, y = fresh(), fresh()
            parts += [tag(rng, f"with {x} = 5, {y} = i"), inner(), "{{ " + y + " }}", tag(rng, "endwith")]
    parts.append(rng.choice(SPACES))
    return "".join(parts)
