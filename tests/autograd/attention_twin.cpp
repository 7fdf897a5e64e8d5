#include "tests/autograd/attention_twin.h"

#include <algorithm>
#include <cstring>

#include "autograd/random.h"
#include "autograd/tape.h"

namespace trainer::test {

Layout layout_of(const Lengths& lengths, Layout::Kind kind) {
    Layout layout;
    layout.kind = kind;
    for (std::int32_t length : lengths) {
        layout.offsets.push_back(layout.offsets.back() + length);
        layout.longest = std::max(layout.longest, length);
    }
    return layout;
}

Numbers random_numbers(std::int64_t count, DType dtype, std::uint64_t seed, double scale) {
    Numbers out(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < out.size(); ++i) {
        const auto words = philox(seed, {static_cast<std::uint32_t>(i), 0, 0, 0});
        double sum = -2;
        for (std::uint32_t word : words) sum += uniform(word);
        const auto value = static_cast<float>(sum * std::sqrt(3.0) * scale);
        out[i] = dtype == DType::bf16 ? static_cast<float>(bf16(value)) : value;
    }
    return out;
}

Tensor tensor_of(const Numbers& numbers, std::int64_t rows, std::int64_t columns, DType dtype) {
    Tensor out = Tensor::empty({rows, columns}, dtype);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        if (dtype == DType::f32) {
            out.data<float>()[i] = static_cast<float>(numbers[i]);
        } else {
            out.data<bf16>()[i] = bf16(static_cast<float>(numbers[i]));
        }
    }
    return out;
}

Numbers numbers_of(const Tensor& tensor) {
    Numbers out;
    if (tensor.dtype() == DType::f32) {
        for (float value : tensor.to_vector<float>()) out.push_back(value);
    } else {
        for (bf16 value : tensor.to_vector<bf16>()) out.push_back(static_cast<float>(value));
    }
    return out;
}

double relative_error(const Numbers& a, const Numbers& b) {
    double difference = 0;
    double norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return a.size() == b.size() && std::isfinite(difference) ? std::sqrt(difference / norm) : INFINITY;
}

AttentionNumbers attention_twin(const Numbers& qkv, const Numbers& dout, const Layout& layout, const Shapes& s) {
    const int D = s.head_dim;
    const double scale = s.shape().scale;
    AttentionNumbers result{Numbers(dout.size()), Numbers(qkv.size())};
    for (std::size_t d = 0; d + 1 < layout.offsets.size(); ++d)
        for (int head = 0; head < s.heads; ++head)
            for (int i = layout.offsets[d]; i < layout.offsets[d + 1]; ++i) {
                const int kv = head / (s.heads / s.kv_heads);
                const int end = layout.kind == Layout::Kind::causal ? i + 1 : layout.offsets[d + 1];
                auto at = [&](int token, int column) { return static_cast<std::size_t>(token * s.columns() + column); };
                const std::size_t query = at(i, head * D);
                const auto row = static_cast<std::size_t>(i * s.out_columns() + head * D);
                Numbers weight;
                double most = -INFINITY;
                for (int j = layout.offsets[d]; j < end; ++j) {
                    double score = 0;
                    for (std::size_t c = 0; c < static_cast<std::size_t>(D); ++c)
                        score += qkv[query + c] * qkv[at(j, (s.heads + kv) * D) + c];
                    weight.push_back(score * scale);
                    most = std::max(most, score * scale);
                }
                double total = 0;
                for (double& w : weight) total += w = std::exp(w - most);
                double delta = 0;
                for (int j = layout.offsets[d]; j < end; ++j) {
                    double& w = weight[static_cast<std::size_t>(j - layout.offsets[d])];
                    w /= total;
                    for (std::size_t c = 0; c < static_cast<std::size_t>(D); ++c) {
                        const double value = qkv[at(j, (s.heads + s.kv_heads + kv) * D) + c];
                        result.out[row + c] += w * value;
                        delta += w * value * dout[row + c];
                    }
                }
                for (int j = layout.offsets[d]; j < end; ++j) {
                    const double w = weight[static_cast<std::size_t>(j - layout.offsets[d])];
                    const std::size_t key = at(j, (s.heads + kv) * D);
                    const std::size_t value = at(j, (s.heads + s.kv_heads + kv) * D);
                    double dweight = 0;
                    for (std::size_t c = 0; c < static_cast<std::size_t>(D); ++c)
                        dweight += qkv[value + c] * dout[row + c];
                    const double dscore = w * (dweight - delta) * scale;
                    for (std::size_t c = 0; c < static_cast<std::size_t>(D); ++c) {
                        result.gradient[query + c] += dscore * qkv[key + c];
                        result.gradient[key + c] += dscore * qkv[query + c];
                        result.gradient[value + c] += w * dout[row + c];
                    }
                }
            }
    return result;
}

AttentionTensors run_attention(Tensor qkv, const Tensor& dout, const Layout& layout, const Shapes& s) {
    Tape tape;
    tape.want(qkv);
    Tensor out;
    {
        const Recording record(tape);
        out = attention(qkv, layout, s.shape(), 0);
    }
    tape.backward(out, dout);
    return {out, tape.gradient(qkv)};
}

bool same_bits(const Tensor& a, const Tensor& b) {
    return a.shape() == b.shape() && a.contiguous() && b.contiguous() && a.dtype() == b.dtype() &&
           std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}   // namespace trainer::test
