#include "peft/combined_adapter.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "autograd/random.h"
#include "configs/error.h"
#include "peft/adapter_agreement.h"
#include "peft/adapter_config.h"
#include "peft/lora.h"
#include "peft/low_rank_adapter.h"

namespace trainer {

namespace {

using Values = std::vector<float>;

// The A and B of one module in one adapter.
struct Part {
    std::size_t adapter;
    AdapterModule module;
    double weight;   // w s
    Values a;        // (r, in)
    Values b;        // (out, r)
};

struct Names {
    std::string a, b;
};

Names tensor_names(const AdapterModule& module) {
    const std::string end = module.embedding ? "" : ".weight", kind = module.embedding ? "lora_embedding_" : "lora_";
    return {adapter_parameter_name(module.name, kind + "A" + end),
            adapter_parameter_name(module.name, kind + "B" + end)};
}

void check_plain(const AdapterFile& file, const std::string& folder) {
    require(file.config().type == AdapterType::lora && !file.config().use_dora, Exit::bad_data,
            "{}: is no plain LoRA; only A and B can be combined", folder);
    std::set<std::string> known;
    for (const AdapterModule& module : file.modules()) {
        const Names names = tensor_names(module);
        known.insert({names.a, names.b});
        if (module.embedding) known.insert(adapter_parameter_name(module.name, "base_layer.weight"));
    }
    for (const FileTensor& tensor : file.tensors())
        require(known.contains(tensor.name), Exit::bad_data,
                "{}: holds {} beside A and B, such as modules_to_save or a bias; only A and B can be combined", folder,
                tensor.name);
}

Values read(const AdapterFile& file, const std::string& name) {
    Values values(static_cast<std::size_t>(element_count(file.find(name)->shape)));
    file.read(name, values.data());
    return values;
}

// The largest `density` of the elements stay; of equal ones the first.
void keep_largest(Values& values, double density) {
    const auto count = static_cast<std::size_t>(density * static_cast<double>(values.size()));
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto larger = [&](std::size_t i, std::size_t j) {
        const float a = std::abs(values[i]), b = std::abs(values[j]);
        return a != b ? a > b : i < j;
    };
    const auto cut = order.begin() + static_cast<std::ptrdiff_t>(count);
    if (cut == order.end()) return;
    std::nth_element(order.begin(), cut, order.end(), larger);
    std::for_each(cut, order.end(), [&](std::size_t i) { values[i] = 0; });
}

void keep_random(Values& values, double density, std::uint64_t key) {
    if (density >= 1) return;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const std::uint64_t block = i / 4;
        const auto words =
            philox(key, {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, 0});
        const bool kept = static_cast<double>(uniform(words[i % 4])) < density;
        values[i] = kept ? values[i] / static_cast<float>(density) : 0.0f;
    }
}

Values weighted_sum(const std::vector<Values>& all, const std::vector<float>& factors, bool elect) {
    Values out(all.front().size());
    for (std::size_t i = 0; i < out.size(); ++i) {
        float total = 0, sum = 0;
        int kept = 0;
        for (const Values& one : all) total += one[i];
        for (std::size_t k = 0; k < all.size(); ++k) {
            const float value = all[k][i];
            if (elect && (value == 0 || (value > 0) != (total >= 0))) continue;
            sum += factors[k] * value;
            ++kept;
        }
        out[i] = elect ? sum / static_cast<float>(std::max(kept, 1)) : sum;
    }
    return out;
}

// One of A and B, of all adapters.
Values combine_side(std::vector<Part>& parts, Values Part::*side, bool is_a, const CombineOptions& options,
                    const std::string& name) {
    std::vector<Values> all;
    std::vector<float> factors;
    const bool dare = options.how == Combination::dare_linear || options.how == Combination::dare_ties;
    for (Part& part : parts) {
        const double root = std::sqrt(std::abs(part.weight));
        factors.push_back(static_cast<float>(is_a && part.weight < 0 ? -root : root));
        if (options.how == Combination::ties) keep_largest(part.*side, options.density);
        if (dare)
            keep_random(part.*side, options.density, random_key(options.seed, site_key(name, "dare"), part.adapter));
        all.push_back(std::move(part.*side));
    }
    return weighted_sum(all, factors, options.how == Combination::ties || options.how == Combination::dare_ties);
}

// A (r, in) and B (out, r) in the rows and columns [begin, begin + r) of larger ones.
void place(const Part& part, const Values& a, const Values& b, float factor, std::int64_t begin, std::int64_t rank,
           Values& whole_a, Values& whole_b) {
    const AdapterModule& module = part.module;
    for (std::int64_t i = 0; i < module.rank * module.in; ++i)
        whole_a[static_cast<std::size_t>(begin * module.in + i)] = factor * a[static_cast<std::size_t>(i)];
    for (std::int64_t row = 0; row < module.out; ++row)
        for (std::int64_t k = 0; k < module.rank; ++k)
            whole_b[static_cast<std::size_t>(row * rank + begin + k)] =
                b[static_cast<std::size_t>(row * module.rank + k)];
}

void add_module(std::vector<Part>& parts, const CombineOptions& options, std::int64_t rank, CombinedAdapter& out) {
    const AdapterModule& module = parts.front().module;
    Values a(static_cast<std::size_t>(rank * module.in)), b(static_cast<std::size_t>(module.out * rank));
    const Names names = tensor_names(module);
    if (options.how == Combination::cat) {
        std::int64_t begin = 0;
        for (const Part& part : parts) {
            place(part, part.a, part.b, static_cast<float>(part.weight), begin, rank, a, b);
            begin += part.module.rank;
        }
    } else {
        const Values own_a = combine_side(parts, &Part::a, true, options, names.a);
        const Values own_b = combine_side(parts, &Part::b, false, options, names.b);
        place(parts.front(), own_a, own_b, 1, 0, rank, a, b);
    }
    out.config.targets.push_back(module.name);
    out.tensors.push_back({names.a, {rank, module.in}, nullptr, std::move(a)});
    out.tensors.push_back({names.b, {module.out, rank}, nullptr, std::move(b)});
}

void check_shapes(const std::vector<Part>& parts, const std::vector<std::filesystem::path>& folders, Combination how) {
    const AdapterModule& first = parts.front().module;
    for (const Part& part : parts) {
        const AdapterModule& one = part.module;
        require(one.in == first.in && one.out == first.out && one.embedding == first.embedding, Exit::bad_data,
                "{}: {} is {} → {}, in {} it is {} → {}; they belong to different bases",
                folders[part.adapter].string(), one.name, one.in, one.out, folders[parts.front().adapter].string(),
                first.in, first.out);
        require(how == Combination::cat || one.rank == first.rank, Exit::bad_data,
                "{}: {} has rank {}, in {} it has {}; only cat combines different ranks",
                folders[part.adapter].string(), one.name, one.rank, folders[parts.front().adapter].string(),
                first.rank);
    }
}

}   // namespace

CombinedAdapter combine_adapters(const std::vector<std::filesystem::path>& folders, const CombineOptions& options) {
    check(folders.size() == options.weights.size() && !folders.empty(), "combine: a weight for each adapter");
    std::map<std::string, std::vector<Part>> modules;
    CombinedAdapter out;
    for (std::size_t i = 0; i < folders.size(); ++i) {
        const AdapterFile file(folders[i]);
        check_plain(file, folders[i].string());
        check_modules_are_chosen(file, folders[i].string());
        if (i == 0) out.config = file.config();
        const AdapterOptions own = adapter_options(file.config());
        for (const AdapterModule& module : file.modules()) {
            const Names names = tensor_names(module);
            double scale = 0;
            with_options_of(folders[i].string(), [&] { scale = low_rank_scale(own, module.name, module.rank); });
            modules[module.name].push_back(
                {i, module, options.weights[i] * scale, read(file, names.a), read(file, names.b)});
        }
    }
    std::int64_t rank = 0;   // of all modules, the smaller ones filled up with zeros
    for (const auto& [name, parts] : modules) {
        check_shapes(parts, folders, options.how);
        std::int64_t own = 0;
        for (const Part& part : parts)
            own = options.how == Combination::cat ? own + part.module.rank : part.module.rank;
        rank = std::max(rank, own);
    }
    AdapterConfig plain;
    plain.base_model = out.config.base_model;
    plain.revision = out.config.revision;
    plain.rank = rank;
    plain.alpha = static_cast<double>(rank);
    out.config = plain;
    for (auto& [name, parts] : modules) add_module(parts, options, rank, out);
    return out;
}

}   // namespace trainer
