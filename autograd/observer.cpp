#include "autograd/observer.h"

#include <utility>

namespace trainer {

namespace {

thread_local OpObserver* observer_of_thread = nullptr;

}   // namespace

Observing::Observing(OpObserver& observer) : before_(std::exchange(observer_of_thread, &observer)) {}
Observing::~Observing() { observer_of_thread = before_; }

OpObserver* current_observer() { return observer_of_thread; }

}   // namespace trainer
