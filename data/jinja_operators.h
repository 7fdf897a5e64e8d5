#pragma once

#include "data/jinja_syntax.h"
#include "data/jinja_value.h"

namespace trainer::jinja {

// Python's arithmetic, 64-bit: what leaves that range is a Failure, not a long integer.
Value operate(Evaluator& evaluator, Operator operation, const Value& a, const Value& b);
Value negate(const Value& value);
bool compare(Budget& budget, Comparison comparison, const Value& a, const Value& b);
bool contains(Budget& budget, const Value& container, const Value& value);

// value[begin:end:step]; bounds may be null or none.
Value slice(Budget& budget, const Value& value, const Value* begin, const Value* end, const Value* step);

// Fails with its message when the value is undefined.
void require_defined(const Value& value);

}   // namespace trainer::jinja
