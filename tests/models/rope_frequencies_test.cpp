#include "models/rope_frequencies.h"

#include <gtest/gtest.h>

#include <cmath>

#include "configs/error.h"
#include "configs/json.h"

namespace trainer {
namespace {

std::vector<float> frequencies(const char* config, int head_dim = 16) {
    return rope_frequencies(parse_json(config, "config.json"), head_dim);
}

void expect_near(const std::vector<float>& found, const std::vector<float>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i] / expected[i], 1, 5e-7) << i;
}

// Goldens: inv_freq of transformers' LlamaRotaryEmbedding, 16 dimensions a head.
const std::vector<float> plain = {
    1, 0.316227764f, 0.100000001f, 0.0316227786f, 0.00999999978f, 0.00316227786f, 0.00100000005f, 0.000316227786f};
const std::vector<float> scaled_llama3 = {
    1, 0.316227764f, 0.100000001f, 0.0039334991f, 0.000312499993f, 9.88211832e-05f, 3.12500015e-05f, 9.88211832e-06f};

TEST(RopeFrequencies, Default) {
    expect_near(frequencies(R"({"rope_theta": 10000.0})"), plain);
    expect_near(frequencies("{}"), plain);
    expect_near(frequencies(R"({"rope_theta": null, "rope_scaling": null})"), plain);
    expect_near(frequencies(R"({"rope_theta": 10000, "rope_scaling": {"rope_type": "default"}})"), plain);
    expect_near(frequencies(R"({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}})"), plain);
    EXPECT_EQ(frequencies(R"({"rope_theta": 500000})", 64).size(), 32u);
}

TEST(RopeFrequencies, Linear) {
    const std::vector<float> expected = {0.25,
                                         0.0484806895f,
                                         0.00940150768f,
                                         0.00182316627f,
                                         0.000353553361f,
                                         6.85620471e-05f,
                                         1.32957393e-05f,
                                         2.57834631e-06f};
    expect_near(frequencies(R"({"rope_theta": 500000.0, "rope_scaling": {"rope_type": "linear", "factor": 4.0}})"),
                expected);
    expect_near(frequencies(R"({"rope_theta": 500000.0, "rope_scaling": {"type": "linear", "factor": 4}})"), expected);
    expect_near(frequencies(R"({"rope_parameters": {"rope_type": "linear", "factor": 4, "rope_theta": 500000}})"),
                expected);
}

TEST(RopeFrequencies, Llama3) {
    expect_near(frequencies(R"({"rope_theta": 500000.0, "max_position_embeddings": 131072, "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}})"),
                {1, 0.193922758f, 0.0376060307f, 0.00729266508f, 0.000524846022f, 3.42810235e-05f, 6.64786967e-06f,
                 1.28917316e-06f});
    expect_near(frequencies(R"({"rope_theta": 10000.0, "max_position_embeddings": 8192, "rope_scaling": {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256}})"),
                scaled_llama3);
}

// The length before scaling: at the top level first, then in the scaling, then the positions of the model.
TEST(RopeFrequencies, WhereTheOriginalLengthStands) {
    expect_near(frequencies(R"({"original_max_position_embeddings": 256, "max_position_embeddings": 8192,
        "rope_scaling": {"rope_type": "llama3", "factor": 32, "low_freq_factor": 1, "high_freq_factor": 4,
        "original_max_position_embeddings": 4096}})"),
                scaled_llama3);
    expect_near(frequencies(R"({"max_position_embeddings": 256, "rope_scaling": {"rope_type": "llama3", "factor": 32,
        "low_freq_factor": 1, "high_freq_factor": 4}})"),
                scaled_llama3);
}

// An override of the recipe stands at the top level; what the file itself said stays below it.
TEST(RopeFrequencies, TheTopLevelsThetaComesFirst) {
    expect_near(frequencies(R"({"rope_theta": 10000, "rope_parameters": {"rope_type": "default", "rope_theta": 7}})"),
                plain);
    expect_near(frequencies(R"({"rope_theta": 10000, "rope_scaling": {"rope_type": "default", "rope_theta": 7}})"),
                plain);
    expect_near(frequencies(R"({"rope_theta": null, "rope_scaling": {"rope_type": "default", "rope_theta": 10000},
        "rope_parameters": {"rope_type": "default", "rope_theta": 7}})"),
                plain);
    expect_near(frequencies(R"({"rope_scaling": {"rope_type": "default"}, "rope_parameters": {"rope_theta": 10000}})"),
                plain);
}

TEST(RopeFrequencies, WhatIsRefused) {
    const auto refused = [](const char* config) -> std::string {
        try {
            frequencies(config);
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Exit::bad_data);
            return error.what();
        }
        return "";
    };
    EXPECT_EQ(refused(R"({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}})"),
              "config.json:1:32: rope scaling \"yarn\" is not supported; supported are default, linear, llama3");
    EXPECT_EQ(refused(R"({"rope_theta": -1})"), "config.json:1:16: rope_theta is -1, expected a positive number");
    EXPECT_EQ(refused(R"({"rope_scaling": {"type": "linear", "factor": 0}})"),
              "config.json:1:47: rope scaling factor is 0, expected a positive number");
    EXPECT_NE(refused(R"({"rope_scaling": {"type": "linear"}})").find("factor"), std::string::npos);
    EXPECT_NE(refused(R"({"rope_scaling": {"type": "llama3", "factor": 8}})").find("low_freq_factor"),
              std::string::npos);
    EXPECT_EQ(refused(R"({"max_position_embeddings": 9, "rope_scaling": {"type": "llama3", "factor": 8,
        "low_freq_factor": 4, "high_freq_factor": 4}})"),
              "config.json:1:77: rope scaling llama3 needs high_freq_factor > low_freq_factor and factor > 0");
}

}   // namespace
}   // namespace trainer
