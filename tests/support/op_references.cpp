#include "tests/support/op_references.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/linear_cross_entropy.h"
#include "autograd/random.h"

namespace trainer::cases {

Matrix add(const Matrix& a, const Matrix& b) {
    Matrix out = a;
    for (std::size_t i = 0; i < out.numbers.size(); ++i) out.numbers[i] += b.numbers[i];
    return out;
}

Matrix rms_norm(const Matrix& x, const Matrix& weight, double eps) {
    Matrix out(x.rows, x.columns);
    for (std::int64_t n = 0; n < x.rows; ++n) {
        double squares = 0;
        for (std::int64_t c = 0; c < x.columns; ++c) squares += x(n, c) * x(n, c);
        const double rstd = 1 / std::sqrt(squares / static_cast<double>(x.columns) + eps);
        for (std::int64_t c = 0; c < x.columns; ++c) out(n, c) = weight(c, 0) * (x(n, c) * rstd);
    }
    return out;
}

Matrix silu_mul(const Matrix& gate_up) {
    Matrix out(gate_up.rows, gate_up.columns / 2);
    for (std::int64_t n = 0; n < out.rows; ++n)
        for (std::int64_t c = 0; c < out.columns; ++c) {
            const double gate = gate_up(n, c);
            out(n, c) = gate / (1 + std::exp(-gate)) * gate_up(n, c + out.columns);
        }
    return out;
}

Matrix concat_columns(const std::vector<Matrix>& parts) {
    std::int64_t columns = 0;
    for (const Matrix& part : parts) columns += part.columns;
    Matrix out(parts[0].rows, columns);
    std::int64_t begin = 0;
    for (const Matrix& part : parts) {
        for (std::int64_t n = 0; n < part.rows; ++n)
            for (std::int64_t c = 0; c < part.columns; ++c) out(n, begin + c) = part(n, c);
        begin += part.columns;
    }
    return out;
}

Matrix dropout_mask(const std::vector<std::uint64_t>& token_keys, std::int64_t columns, float p, std::uint64_t site) {
    Matrix out(static_cast<std::int64_t>(token_keys.size()), columns);
    for (std::int64_t n = 0; n < out.rows; ++n)
        for (std::int64_t c = 0; c < columns; ++c) {
            const auto counter = static_cast<std::uint32_t>(16 * (c / 64) + c % 16);
            const std::uint64_t key = random_key(token_keys[static_cast<std::size_t>(n)], site);
            const std::uint32_t word = philox(key, {counter, 0, 0, 0})[static_cast<std::size_t>(c % 64 / 16)];
            out(n, c) = uniform(word) >= p ? 1 / (1 - static_cast<double>(p)) : 0;
        }
    return out;
}

Matrix multiply_elements(const Matrix& a, const Matrix& b) {
    Matrix out = a;
    for (std::size_t i = 0; i < out.numbers.size(); ++i) out.numbers[i] *= b.numbers[i];
    return out;
}

Matrix times_transposed(const Matrix& x, const Matrix& weight) {
    Matrix out(x.rows, weight.rows);
    for (std::int64_t n = 0; n < x.rows; ++n)
        for (std::int64_t o = 0; o < weight.rows; ++o) {
            double sum = 0;
            for (std::int64_t i = 0; i < x.columns; ++i) sum += x(n, i) * weight(o, i);
            out(n, o) = sum;
        }
    return out;
}

Matrix pick_rows(const Matrix& weight, const std::vector<std::int32_t>& ids) {
    Matrix out(static_cast<std::int64_t>(ids.size()), weight.columns);
    for (std::int64_t n = 0; n < out.rows; ++n)
        for (std::int64_t c = 0; c < out.columns; ++c) out(n, c) = weight(ids[static_cast<std::size_t>(n)], c);
    return out;
}

Matrix rope(const Matrix& x, const std::vector<std::int32_t>& positions, const std::vector<float>& inverse_frequencies,
            double scaling, int heads, int head_dim) {
    Matrix out = x;
    const int half = head_dim / 2;
    for (std::int64_t n = 0; n < x.rows; ++n)
        for (int head = 0; head < heads; ++head)
            for (int j = 0; j < half; ++j) {
                const float angle = static_cast<float>(positions[static_cast<std::size_t>(n)]) *
                                    inverse_frequencies[static_cast<std::size_t>(j)];
                const double cosine = std::cos(static_cast<double>(angle)) * scaling;
                const double sine = std::sin(static_cast<double>(angle)) * scaling;
                const std::int64_t first = head * head_dim + j;
                out(n, first) = x(n, first) * cosine - x(n, first + half) * sine;
                out(n, first + half) = x(n, first + half) * cosine + x(n, first) * sine;
            }
    return out;
}

Matrix attention(const Matrix& qkv, const std::vector<std::int32_t>& offsets, bool causal,
                 const AttentionShape& shape) {
    const int dim = shape.head_dim;
    Matrix out(qkv.rows, static_cast<std::int64_t>(shape.heads) * dim);
    for (std::size_t document = 0; document + 1 < offsets.size(); ++document)
        for (int head = 0; head < shape.heads; ++head) {
            const int kv_head = head / (shape.heads / shape.kv_heads);
            const std::int64_t query = static_cast<std::int64_t>(head) * dim;
            const std::int64_t key = static_cast<std::int64_t>(shape.heads + kv_head) * dim;
            const std::int64_t value = static_cast<std::int64_t>(shape.heads + shape.kv_heads + kv_head) * dim;
            for (std::int64_t n = offsets[document]; n < offsets[document + 1]; ++n) {
                const std::int64_t end = causal ? n + 1 : offsets[document + 1];
                std::vector<double> scores;
                double largest = -1e300;
                for (std::int64_t m = offsets[document]; m < end; ++m) {
                    double dot = 0;
                    for (int d = 0; d < dim; ++d) dot += qkv(n, query + d) * qkv(m, key + d);
                    scores.push_back(dot * static_cast<double>(shape.scale));
                    largest = std::max(largest, scores.back());
                }
                double sum = 0;
                for (double& score : scores) sum += score = std::exp(score - largest);
                for (int d = 0; d < dim; ++d) {
                    double mean = 0;
                    for (std::size_t m = 0; m < scores.size(); ++m)
                        mean += scores[m] / sum * qkv(offsets[document] + static_cast<std::int64_t>(m), value + d);
                    out(n, query + d) = mean;
                }
            }
        }
    return out;
}

CrossEntropy cross_entropy(const Matrix& logits, const std::vector<std::int32_t>& targets) {
    CrossEntropy out;
    for (std::int64_t n = 0; n < logits.rows; ++n) {
        const std::int32_t target = targets[static_cast<std::size_t>(n)];
        if (target == ignored_target) continue;
        double largest = logits(n, 0);
        std::int64_t best = 0;
        for (std::int64_t v = 1; v < logits.columns; ++v)
            if (logits(n, v) > largest) {
                largest = logits(n, v);
                best = v;
            }
        double sum = 0;
        for (std::int64_t v = 0; v < logits.columns; ++v) sum += std::exp(logits(n, v) - largest);
        const double log_sum = largest + std::log(sum);
        double entropy = 0;
        for (std::int64_t v = 0; v < logits.columns; ++v) {
            const double log_p = logits(n, v) - log_sum;
            entropy -= std::exp(log_p) * log_p;
        }
        out.loss += log_sum - logits(n, target);
        out.correct += best == target ? 1 : 0;
        out.entropy += entropy;
    }
    return out;
}

}   // namespace trainer::cases
