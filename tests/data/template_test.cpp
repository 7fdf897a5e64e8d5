#include "data/template.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "configs/error.h"
#include "configs/json.h"

namespace trainer {
namespace {

const Node& conversation() {
    static const Node messages = parse_json(R"([
        {"role": "user", "content": " Grüße \n"},
        {"role": "assistant", "content": "Hi", "tool_calls": [
            {"function": {"name": "f", "arguments": {"x": 1.0, "y": [true, null, "é"], "z": {}}}}]},
        {"role": "user", "content": [{"type": "text", "text": "part"}]}])",
                                            "messages");
    return messages;
}

ChatTemplate::Rendered render(std::string_view source, const Node& variables = Node::map(), bool prompt = false) {
    return ChatTemplate(source, "t").render({conversation(), prompt, nullptr, nullptr, variables});
}

std::string complaint(std::string_view source) {
    try {
        return "rendered: " + render(source).text;
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::bad_data) << error.what();
        return error.what();
    }
}

struct Case {
    const char* source;
    const char* text;
};

void check_all(const std::vector<Case>& cases) {
    for (const Case& c : cases) EXPECT_EQ(render(c.source).text, c.text) << c.source;
}

// What jinja2 3.1.6 renders; tests/parity/template.py compares many thousands more.
TEST(template_test, white_space) {
    check_all({
        {"a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
        {"a\n  {%- if true -%}\n  b\n  {%- endif -%}\nc\n\n", "abc\n"},
        {"a\n  {%+ if true +%}\n  b\n{% endif %}", "a\n  \n  b\n"},
        {"a  {# note #}\n  b {#- note -#}\n c", "a    bc"},
        {"  {{ 1 }}\n  {{- 2 -}}  \n3", "  123"},
        {"{% raw %}\n {{ x }} {%- endraw %}\n|", "\n {{ x }}|"},
        {"a\r\nb\rc\n", "a\nb\nc"},
        {"x {% if 1 %}y{% endif %}", "x y"},
    });
}

TEST(template_test, expressions) {
    check_all({
        {"{{ 1 + 2 * 3 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 2**3**2 }} {{ -2**2 }} {{ 1/4 }}", "7 -4 2 64 4 0.25"},
        {"{{ 1 < 2 < 3 }} {{ 'a' in 'abc' }} {{ 4 not in [1] }} {{ not 1 in [1] }}", "True True True False"},
        {"{{ 'a' if 0 }}|{{ ('a' if 0) is defined }}|{{ 'a' if 1 else 'b' }}", "|False|a"},
        {"{{ [1,2,3][::-1] }}{{ 'abc'[-1] }}{{ 'abcd'[1:-1] }}{{ (1,) }}{{ {'k': none} }}",
         "[3, 2, 1]cbc(1,){'k': None}"},
        {"{{ 'a' ~ 1 ~ none ~ true ~ 1e16 ~ 1e-05 ~ 3.0 }}", "a1NoneTrue1e+161e-053.0"},
        {"{{ [none, 1.0, 'it\\'s', '\"', '\\n\\x7f\\u200b'] }}", "[None, 1.0, \"it's\", '\"', '\\n\\x7f\\u200b']"},
        {"{{ nope }}{{ nope ~ 1 }}{{ nope == also }}{{ nope|length }}{{ nope|default('d') }}{{ none|default('d') }}",
         "1True0dNone"},
        {"{{ tools is none }}{{ tools is defined }}{{ nope is none }}{{ messages[9] is defined }}",
         "TrueTrueFalseFalse"},
        {"{{ '%s-%05.1f|%-3d|' % ('a', 2.25, 7) }}{{ '{}{0}'|length }}{{ '{:>4}{x!r}'.format(1, x='y') }}",
         "a-002.2|7  |5   1'y'"},
        {"{{ 'a,b,c'.split(',', 1) }}{{ ' a  b '.split() }}{{ '\\u3000x\\u00a0'.strip() }}{{ 'xxay'.strip('xy') }}",
         "['a', 'b,c']['a', 'b']xa"},
        {"{{ 'straße'|upper }}{{ 'Hello wörld'|title }}{{ 'ÀB'|lower }}{{ 'hELLO'|capitalize }}",
         "STRASSEHello WörldàbHello"},
        {"{{ {'b': 1, 'a': 2}|dictsort }}{{ [3, 1]|sort }}{{ ['b', 'A']|sort }}{{ [1, 1, 2]|unique|list }}",
         "[('a', 2), ('b', 1)][1, 3]['A', 'b'][1, 2]"},
        {"{{ messages|map(attribute='role')|join(',') }}{{ messages|selectattr('role', 'equalto', 'user')|list|length "
         "}}",
         "user,assistant,user2"},
        {"{{ 1 is odd }}{{ 'a' is string }}{{ {} is mapping }}{{ [] is iterable }}{{ 1.5 is float }}{{ true is boolean "
         "}}",
         "TrueTrueTrueTrueTrueTrue"},
        {"{{ dict(a=1).items()|list }}{{ {'a': {'b': 2}}.a.b }}{{ {'items': 5}['items'] }}{{ {'a': 1}.get('q', 3) }}",
         "[('a', 1)]253"},
    });
}

TEST(template_test, statements) {
    check_all({
        {"{% for i in [1,2,3] if i != 2 %}{{ loop.index }}{{ i }}{{ loop.last }}{% else %}none{% endfor %}",
         "11False23True"},
        {"{% for i in [] %}x{% else %}none{% endfor %}{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}",
         "nonea1"},
        {"{% set x = 0 %}{% for i in [1,2] %}{% set x = i %}{% endfor %}{{ x }}", "0"},
        {"{% set n = namespace(x=0) %}{% for i in [1,2] %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}{{ n }}",
         "3<Namespace {'x': 3}>"},
        {"{% macro f(a, b=a) %}{{ a }}{{ b }}{{ varargs }}{{ caller() if caller }}{% endmacro %}{{ f(1) }}{{ f(1, b=2) "
         "}}"
         "{% call f(3, 4, 5) %}in{% endcall %}",
         "11()12()34(5,)in"},
        {"{% macro deep(n) %}{{ n }}{% if n %}{{ deep(n - 1) }}{% endif %}{% endmacro %}{{ deep(3) }}", "3210"},
        {"{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %}{{ i }}{% endfor "
         "%}",
         "02"},
        {"{% set a, b = 1, 2 %}{% set t | upper %}x{{ a }}{% endset %}{{ t }}{{ b }}{% filter upper %}y{% endfilter %}",
         "X12Y"},
        {"{% for x in [[1, [2]], [3]] recursive %}{% if x is number %}{{ x }}{% else %}({{ loop(x) }}){% endif %}{% "
         "endfor %}",
         "(1(2))(3)"},
        {"{% with q = 1 %}{{ q }}{% endwith %}{{ q }}{% block b %}b{% endblock %}", "1b"},
        {"{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined else '^' }}{% endfor %}",
         "^userassistant"},
    });
}

TEST(template_test, json) {
    check_all({
        {"{{ messages[1].tool_calls[0].function | tojson }}",
         R"({"name": "f", "arguments": {"x": 1.0, "y": [true, null, "é"], "z": {}}})"},
        {"{{ messages[1].tool_calls[0].function.arguments | tojson(indent=2) }}",
         "{\n  \"x\": 1.0,\n  \"y\": [\n    true,\n    null,\n    \"é\"\n  ],\n  \"z\": {}\n}"},
        {"{{ '<é>\\n' | tojson }}{{ {2: 1, none: 1e-05} | tojson(separators=(',', ':'), sort_keys=false) }}",
         "\"<é>\\n\"{\"2\":1,\"null\":1e-05}"},
    });
}

// "begin-end:message" of every piece, as text.
std::string pieces(const ChatTemplate::Rendered& rendered) {
    std::string all;
    for (const auto& piece : rendered.pieces)
        all += format("[{}:{}]", piece.message, rendered.text.substr(piece.begin, piece.end - piece.begin));
    return all;
}

TEST(template_test, pieces) {
    const std::vector<Case> cases = {
        {"{% for m in messages[:2] %}<{{ m.role }}>{{ m.content }}{% endfor %}", "[0: Grüße \n][1:Hi]"},
        {"{{ 'a' + messages[0].content|trim + 'b' }}", "[0:Grüße]"},
        {"{{ messages[0].content[2:4] ~ messages[1].content[::-1] }}", "[0:rü][1:iH]"},
        {"{{ (messages[0].content ~ messages[1].content)|replace('ü', '_')|upper }}", "[0: GR][0:SSE \n][1:HI]"},
        {"{{ messages[0].content.split('ü')|join('+') }}", "[0: Gr][0:ße \n]"},
        {"{{ messages[1].tool_calls[0].function | tojson }}",
         R"([1:{"name": "f", "arguments": {"x": 1.0, "y": [true, null, "é"], "z": {}}}])"},
        {"{{ messages[1].tool_calls[0].function.arguments.x }}-{{ messages[1].tool_calls[0].function.arguments.z }}",
         "[1:1.0][1:{}]"},
        {"{% macro f(x) %}<{{ x }}>{% endmacro %}{% set y %}{{ f(messages[1].content) }}{% endset %}{{ y }}", "[1:Hi]"},
        {"{{ [messages[1].content, 'x'] }}{{ '%s %s' % ('a', messages[1].content) }}", "[1:Hi][1:Hi]"},
        {"{{ messages[2].content[0].text }}{{ messages[2].content[0].type == 'text' }}{{ bos_token }}", "[2:part]"},
        {"{{ messages[1].content|indent(2, true) }}{{ messages[1].content|e }}{{ '{}'.format(messages[1].content) }}",
         "[1:HiHiHi]"},
    };
    for (const Case& c : cases) EXPECT_EQ(pieces(render(c.source)), c.text) << c.source;
}

TEST(template_test, generation) {
    const auto rendered = render(
        "{% for m in messages %}<{{ m.role }}>\n{% generation %}{{ m.content }}</>{% endgeneration %}{% endfor %}");
    ASSERT_EQ(rendered.generation.size(), 3u);
    std::vector<std::string> spans;
    for (const auto& [begin, end] : rendered.generation) spans.push_back(rendered.text.substr(begin, end - begin));
    EXPECT_EQ(spans[0], " Grüße \n</>");
    EXPECT_EQ(spans[1], "Hi</>");
    EXPECT_EQ(pieces(rendered).substr(0, 20), "[0: Grüße \n][1:Hi]");

    // Inside of a macro and a filter the span stays with its text.
    const auto nested = render(
        "{% macro f(x) %}<{% generation %}{{ x }}{% endgeneration %}>{% endmacro %}{{ ('..' ~ f('ab'))|upper }}");
    ASSERT_EQ(nested.generation.size(), 1u);
    EXPECT_EQ(nested.text.substr(nested.generation[0].first, 2), "AB");
    EXPECT_EQ(nested.generation[0].second - nested.generation[0].first, 2u);
}

TEST(template_test, errors_say_where_and_what) {
    const std::vector<Case> cases = {
        {"a\n{% fro x in y %}", "t:2: found the tag 'fro', did you mean 'for'; supported are"},
        {"{{ 'a' | uper }}", "t:1: there is no filter 'uper', did you mean 'upper'; supported are"},
        {"{{ 1 is od }}", "t:1: there is no test 'od'"},
        {"\n\n{{ nope.x }}", "t:3: 'nope' is undefined"},
        {"{% if 1 %}\n", "t:1: the template ends, but the tag opened in line 1 needs 'endif'"},
        {"{{ 1 + }}", "t:1: expected an expression, found '}}'"},
        {"{{ (1 }}", "t:1: found '}', expected ')'"},
        {"{{ 'a }}", "t:1: a string opened by ' is not closed"},
        {"{{ 'a' + 1 }}", "t:1: '+' cannot join str and int; use '~' or the filter 'string'"},
        {"{{ messages[0].content.x.y }}", "t:1: 'str object' has no attribute 'x'"},
        {"{{ raise_exception('no ' ~ 'good') }}", "t:1: no good"},
        {"{% set x = [] %}{{ x.append(1) }}", "t:1: 'append' would change a list, which templates may not do"},
        {"{{ messages[0].pop('role') }}", "t:1: 'pop' would change a dict, which templates may not do"},
        {"{{ ''.__class__.__mro__ }}", "t:1: access to the attribute '__class__' is refused"},
        {"{{ ''['__class__']() }}", "t:1: access to the attribute '__class__' is refused"},
        {"{{ '{0.__class__.x}'.format(1) }}", "t:1: access to the attribute '__class__' is refused"},
        {"{% set n = namespace() %}{% set n._x = 1 %}", "t:1: a namespace attribute cannot start with an underscore"},
        {"{% set messages.x = 1 %}", "t:1: only attributes of a namespace can be assigned to"},
        {"{% break %}", "t:1: 'break' outside of a loop"},
        {"{{ range(100001) }}", "t:1: range() gives at most 100000 numbers"},
        {"{{ 9223372036854775807 + 1 }}", "t:1: an integer does not fit in 64 bits"},
        {"{% for a, b in [[1]] %}{% endfor %}", "t:1: 1 values cannot be assigned to 2 names"},
        {"{% for a in 5 %}{% endfor %}", "t:1: 'int' object is not iterable"},
        {"{{ nope|tojson }}", "t:1: tojson cannot write a value of type Undefined"},
        {"\xff", "t:1: the template is not valid UTF-8"},
    };
    for (const Case& c : cases)
        EXPECT_EQ(complaint(c.source).substr(0, std::string(c.text).size()), c.text) << c.source;
}

TEST(template_test, hostile_templates_end_quickly) {
    std::string brackets(100'000, '(');
    std::string sums = "{{ 1";
    for (int i = 0; i < 100'000; ++i) sums += "+1";
    std::string blocks;
    for (int i = 0; i < 100'000; ++i) blocks += "{% if 1 %}";
    const std::vector<std::string> sources = {
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{{ 'a' * 10**12 }}",
        "{{ [0] * 10**12 }}",
        "{{ 'a'|center(10**12) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 'a'.ljust(10**15) }}",
        "{% set n = namespace(s='xxxxxxxx') %}{% for i in range(100) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s='x') %}{% for i in range(100) %}{% set n.s = n.s|replace('', n.s) %}{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(100) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(100000) %}{% set n.s = [n.s] %}{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(100) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
        "{% set n = namespace(s=(1,), t=(1,)) %}{% for i in range(100) %}{% set n.s = (n.s, n.s) %}{% set n.t = (n.t, "
        "n.t) %}"
        "{% endfor %}{{ n.s == n.t }}",
        "{% set n = namespace(s=(1,)) %}{% for i in range(100) %}{% set n.s = (n.s, n.s) %}{% endfor %}{{ {n.s: 1} }}",
        "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
        "{% set n = namespace(g=[1]) %}{% for i in range(100000) %}{% set n.g = n.g|map('string') %}{% endfor %}{{ "
        "n.g|list }}",
        "{% for i in range(100000) %}{{ 'x' * 100000 }}{% endfor %}",
        "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
        "{{ range(100000)|batch(1, 0)|list|length }}{{ range(100000)|unique|list|length }}",
        "{{ ('x' * 10**7)|upper|lower|title|list }}",
        "{{ {}|tojson(indent=10**9) }}{{ [[[[1]]]]|tojson(indent=10**9) }}",
        "{{ 2 ** 10 ** 10 }}",
        "{{ " + brackets,
        sums + " }}",
        blocks,
        "{{ " + std::string(100'000, '-') + "1 }}",
        "{% if " + std::string(4 * 50'000, 'n') + " %}",
    };
    for (const std::string& source : sources) {
        const auto begin = std::chrono::steady_clock::now();
        const std::string said = complaint(source);
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
        EXPECT_EQ(said.substr(0, 2), "t:") << source.substr(0, 120) << "\n" << said.substr(0, 200);
        // A budget, not a benchmark: without one these run for hours.
        EXPECT_LT(seconds.count(), 10) << source.substr(0, 120);
        RecordProperty(source.substr(0, 40), std::to_string(seconds.count()));
    }
}

TEST(template_test, mutations_never_crash) {
    const std::vector<std::string> seeds = {
        "{% for m in messages -%}\n<{{ m.role }}>{{ m['content']|string|trim ~ 'x'[::-1] }}{%- if not loop.last %}\n{% "
        "endif %}{% endfor %}",
        "{%- set ns = namespace(a=1, b=[messages]) %}{% macro f(a, b='c') %}{{ a|tojson(indent=2) }}{{ caller(b) }}{% "
        "endmacro %}"
        "{% call(x) f(messages[1], 'é') %}{{ x|upper|replace('C', '12') }}{% endcall %}{% set ns.a = ns.a ** 2 // 3 %}",
        "{% raw %}{{ }}{% endraw %}{# c #}{% set t|upper %}a{% generation %}{{ '%5.1f|%s' % (1.5, none) }}{% "
        "endgeneration %}{% endset %}"
        "{{ t[1:-1] }}{{ '{:>5}{x}'.format(1, x=[1, {'a': (2,)}]) }}",
        "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list|length if messages is "
        "iterable else 1.5e3 }}"
        "{% for k, v in messages[1].tool_calls[0].function.arguments|items if v is not none %}{{ k }}{{ loop.nextitem "
        "}}{% break %}{% endfor %}",
    };
    std::string alphabet = "{}%#|()[]'\"\\-+~*/.,:=<> \n0129aexn_é";
    for (const std::string& seed : seeds) alphabet += seed;
    std::mt19937 random(7);
    int rendered = 0;
    for (int round = 0; round < 6000; ++round) {
        std::string source = seeds[random() % seeds.size()];
        for (int change = static_cast<int>(random() % 4) + 1; change > 0 && !source.empty(); --change) {
            const std::size_t at = random() % source.size();
            const std::size_t size = random() % 8 + 1;
            if (random() % 3 == 0) {
                source.erase(at, size);
            } else {
                const std::string other = seeds[random() % seeds.size()];
                const std::string piece = random() % 2 ? std::string(1, alphabet[random() % alphabet.size()])
                                                       : other.substr(random() % other.size(), size * 4);
                source.insert(at, piece);
            }
        }
        const std::string said = complaint(source);
        rendered += said.starts_with("rendered");
        EXPECT_TRUE(said.starts_with("rendered") || said.starts_with("t:")) << source << "\n" << said;
    }
    EXPECT_GT(rendered, 300);   // else the mutations test only the parser
}

TEST(template_test, one_template_serves_many_threads) {
    const ChatTemplate chat("{% for m in messages %}{{ m.role ~ m.content|string|trim ~ [1, 'x'] }}{% endfor %}", "t");
    const std::string expected = chat.render({conversation(), false, nullptr, nullptr, Node::map()}).text;
    std::vector<std::thread> threads;
    std::vector<int> wrong(4);
    for (int& count : wrong)
        threads.emplace_back([&] {
            for (int i = 0; i < 200; ++i)
                count += chat.render({conversation(), false, nullptr, nullptr, Node::map()}).text != expected;
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, std::vector<int>(4));
}

}   // namespace
}   // namespace trainer
