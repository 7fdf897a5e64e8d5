#pragma once

#include <memory>
#include <utility>

#include "configs/error.h"
#include "configs/fields.h"

namespace trainer {

// Some struct with fields, by value: what a table of makers with options of their own holds.
class AnyFields {
public:
    template <HasFields T>
    explicit AnyFields(T value) : held_(std::make_unique<Held<T>>(std::move(value))) {}
    AnyFields(const AnyFields& other) : held_(other.held_->copy()) {}
    AnyFields(AnyFields&&) = default;
    AnyFields& operator=(AnyFields other) {
        held_ = std::move(other.held_);
        return *this;
    }
    ~AnyFields() = default;

    // Error(internal) when it holds another type.
    template <HasFields T>
    const T& as() const {
        const auto* held = dynamic_cast<const Held<T>*>(held_.get());
        check(held, "options are of another type");
        return held->value;
    }
    template <typename Visitor>
    void fields(Visitor& visitor) {
        held_->visit(visitor);
    }

private:
    struct Holder {
        virtual ~Holder() = default;
        virtual std::unique_ptr<Holder> copy() const = 0;
        virtual void visit(FieldReader& visitor) = 0;
        virtual void visit(FieldWriter& visitor) = 0;
        virtual void visit(FieldSchema& visitor) = 0;
        virtual void visit(FieldNotes& visitor) = 0;
    };
    template <typename T>
    struct Held : Holder {
        explicit Held(T held) : value(std::move(held)) {}
        std::unique_ptr<Holder> copy() const override { return std::make_unique<Held>(value); }
        void visit(FieldReader& visitor) override { value.fields(visitor); }
        void visit(FieldWriter& visitor) override { value.fields(visitor); }
        void visit(FieldSchema& visitor) override { value.fields(visitor); }
        void visit(FieldNotes& visitor) override { value.fields(visitor); }
        T value;
    };

    std::unique_ptr<Holder> held_;
};

}   // namespace trainer
