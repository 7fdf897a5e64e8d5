// What tests/parity/schedules.py, optimizers.py and loss_scaler.py need to see of the trainer's inside.
//
//   optimizer_driver schedule OPTIONS.json TOTAL [LOSSES.json]   the factor on the learning rate of every update, one a
//                                                                line; the losses are of evaluations before each
//   optimizer_driver steps OPTIONS.json RATES.json IN OUT        one update for each rate of the values value.NAME with
//                                                                gradients gradient.STEP.NAME (safetensors IN); writes
//                                                                them as the model is saved, what it trains at as
//                                                                trained.NAME, and the state as STATE.NAME; with
//                                                                apollo also its projections, projection.USE.NAME
//   optimizer_driver scaler FIRST                                the loss scale, from FIRST on, and its count of finite
//                                                                steps after every step, one a line; standard input has
//                                                                a 1 for each step with a finite gradient, else a 0
//   optimizer_driver speed ELEMENTS ROUNDS NAME…                 seconds of an update, by rule, in turn; NAME:bf16 with
//                                                                values of bf16
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/safetensors.h"
#include "optim/apollo.h"
#include "optim/loss_scaler.h"
#include "optim/optimizer_options.h"
#include "optim/schedule.h"

namespace trainer {

namespace {

void schedule(const char* options_file, std::int64_t total, const char* losses_file) {
    const auto options = read_fields<ScheduleOptions>(read_json(options_file));
    const Node losses = losses_file ? read_json(losses_file) : Node::list();
    PlateauState plateau;
    for (std::int64_t update = 0; update < total; ++update) {
        if (static_cast<std::size_t>(update) < losses.size())
            note_evaluation(options, losses.as_list()[static_cast<std::size_t>(update)].as_number(), plateau);
        std::printf("%.17g\n", schedule_factor(options, update, total, plateau));
    }
}

Tensor read_tensor(const SafetensorsFile& file, const std::string& name) {
    const FileTensor& found = file.at(name);
    const Shape shape =
        found.shape.size() == 2 ? Shape(found.shape[0], found.shape[1]) : Shape(element_count(found.shape));
    Tensor out = Tensor::empty(shape, DType::f32);
    file.read(found, DType::f32, out.raw());
    return out;
}

TensorToWrite to_write(const std::string& name, const Tensor& value) {
    return {name, file_dtype(value.dtype()), value.shape().sizes(), bytes_of(value), nullptr};
}

void steps(const char* options_file, const char* rates_file, const char* in, const char* out) {
    const auto options = read_fields<OptimizerOptions>(read_json(options_file));
    const Node rates = read_json(rates_file);
    const SafetensorsFile file(in);
    std::vector<std::unique_ptr<Parameter>> owned;
    std::vector<Parameter*> parameters;
    for (const FileTensor& tensor : file.tensors()) {
        if (!tensor.name.starts_with("value.")) continue;
        Tensor value = read_tensor(file, tensor.name);
        if (options.master == Master::bf16) value = converted(value, DType::bf16);
        Parameter& made = *owned.emplace_back(std::make_unique<Parameter>(tensor.name.substr(6), value.shape()));
        made.value = std::move(value);
        made.trainable = true;
        parameters.push_back(&made);
    }
    const auto optimizer = make_optimizer(options, whole_slices(parameters));
    optimizer->prepare();
    for (std::size_t i = 0; i < rates.size(); ++i) {
        for (Parameter* one : parameters)
            one->gradient = read_tensor(file, "gradient." + std::to_string(i) + "." + one->name);
        std::vector<Tensor> gradients;
        for (const ParameterSlice& slice : optimizer->slices()) gradients.push_back(slice.gradient());
        optimizer->step(gradients, rates.as_list()[i].as_number(), 1.0f);
    }
    std::vector<TensorToWrite> tensors;
    std::vector<Tensor> trained;
    for (const Parameter* one : parameters) {
        trained.push_back(Tensor::from<float>(converted(one->value, DType::f32).to_vector<float>(), one->shape));
        tensors.push_back(to_write("trained." + one->name, trained.back()));
    }
    if (optimizer->has_evaluation_values()) optimizer->to_evaluation_values();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        tensors.push_back(to_write("value." + parameters[i]->name, parameters[i]->value));
        for (const auto& [state, tensor] : optimizer->state(i))
            tensors.push_back(to_write(state + "." + parameters[i]->name, tensor));
    }
    std::vector<Tensor> projections;
    if (options.name == "apollo") {
        const auto& own = options.rule.as<ApolloOptions>();
        for (std::int64_t use = 0; use * own.renew_every < static_cast<std::int64_t>(rates.size()); ++use)
            for (const Parameter* one : parameters) {
                if (one->shape.dimensions() != 2) continue;
                projections.push_back(apollo_projection(own, *one, 0, use));
                tensors.push_back(to_write(format("projection.{}.{}", use, one->name), projections.back()));
            }
    }
    write_safetensors(out, tensors);
}

double seconds_of_a_step(Optimizer& optimizer, const std::vector<Tensor>& gradients) {
    const auto begin = std::chrono::steady_clock::now();
    optimizer.step(gradients, 1e-4, 1.0f);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void speed(std::int64_t elements, int rounds, const std::vector<std::string>& names) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<std::unique_ptr<Parameter>> parameters;
    std::vector<std::unique_ptr<Optimizer>> optimizers;
    const std::int64_t columns = std::min<std::int64_t>(elements, 4096);
    const Tensor gradient = Tensor::empty(elements / columns * columns, DType::f32);
    for (std::int64_t i = 0; i < gradient.elements(); ++i) gradient.data<float>()[i] = normal(random);
    for (const std::string& name : names) {
        Parameter& made =
            *parameters.emplace_back(std::make_unique<Parameter>(name, Shape(elements / columns, columns)));
        made.value = Tensor::from<float>(gradient.to_vector<float>(), made.shape);
        OptimizerOptions options;
        options.choose(name.substr(0, name.find(':')));
        if (name.ends_with(":bf16")) made.value = converted(made.value, DType::bf16);
        optimizers.push_back(make_optimizer(options, whole_slices({&made})));
        optimizers.back()->prepare();
    }
    std::vector<std::vector<double>> seconds(names.size());
    for (int round = 0; round < rounds + 2; ++round)
        for (std::size_t i = 0; i < names.size(); ++i) {
            const double taken = seconds_of_a_step(*optimizers[i], {gradient});
            if (round >= 2) seconds[i].push_back(taken);
        }
    for (std::size_t i = 0; i < names.size(); ++i) {
        std::sort(seconds[i].begin(), seconds[i].end());
        std::printf("%-20s median %.6f s, %.3f ns an element\n", names[i].c_str(), seconds[i][seconds[i].size() / 2],
                    seconds[i][seconds[i].size() / 2] * 1e9 / static_cast<double>(gradient.elements()));
    }
}

void scaler(double first) {
    LossScaler scaler{.scale = first};
    for (int step = std::getchar(); step == '0' || step == '1'; step = std::getchar()) {
        scaler.update(step == '1');
        std::printf("%.17g %lld\n", scaler.scale, static_cast<long long>(scaler.finite_steps));
    }
}

int main_of(int argc, char** argv) {
    if (argc == 3 && std::strcmp(argv[1], "scaler") == 0) {
        scaler(std::atof(argv[2]));
        return 0;
    }
    if (argc >= 4 && std::strcmp(argv[1], "schedule") == 0) {
        schedule(argv[2], std::atoll(argv[3]), argc > 4 ? argv[4] : nullptr);
        return 0;
    }
    if (argc == 6 && std::strcmp(argv[1], "steps") == 0) {
        steps(argv[2], argv[3], argv[4], argv[5]);
        return 0;
    }
    if (argc >= 5 && std::strcmp(argv[1], "speed") == 0) {
        speed(std::atoll(argv[2]), std::atoi(argv[3]), {argv + 4, argv + argc});
        return 0;
    }
    std::fputs("usage: at the head of tests/parity/optimizer_driver.cpp\n", stderr);
    return 64;
}

}   // namespace

}   // namespace trainer

int main(int argc, char** argv) {
    try {
        return trainer::main_of(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 70;
    }
}
