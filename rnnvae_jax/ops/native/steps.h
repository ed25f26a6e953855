// Steps that follow each other, the parts of each computed in parallel.

#ifndef RNNVAE_JAX_OPS_NATIVE_STEPS_H_
#define RNNVAE_JAX_OPS_NATIVE_STEPS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace rnnvae {

// Runs `body(step, part)`. All parts of a step end before the next one begins.
//
// Each thread has a part of its own, so that its caches keep what the part reads
// at every step. A part whose thread is late is computed by another one, and the
// calling thread takes parts as well: nobody waits for what no running thread
// has begun, and calls that run at the same time cannot block each other.
//
// Args:
//   schedule: runs a function on some other thread, now or later.
template <typename Schedule>
void InSteps(int64_t steps, int64_t parts, Schedule schedule,
             const std::function<void(int64_t, int64_t)>& body) {
  struct Shared {
    explicit Shared(int64_t parts) : next(parts) {}
    std::vector<std::atomic<int64_t>> next;  // Each part's next step.
    std::atomic<int64_t> done{0};            // Parts done, of all steps.
  };
  auto shared = std::make_shared<Shared>(parts);
  // A thread that comes after the end finds no step left. It must not touch
  // `body`.
  const auto work = [shared, steps, parts, &body](int64_t own) {
    for (int64_t step = shared->done / parts; step < steps; ++step) {
      for (int64_t n = 0; n < parts; ++n) {
        const int64_t part = (own + n) % parts;
        int64_t expected = step;
        if (shared->next[part].compare_exchange_strong(expected, step + 1)) {
          body(step, part);
          ++shared->done;
        }
      }
      for (int64_t tries = 0; shared->done < (step + 1) * parts; ++tries) {
        if (tries > 4096) std::this_thread::yield();
      }
    }
  };
  for (int64_t own = 1; own < parts; ++own) {
    schedule([work, own] { work(own); });
  }
  work(0);
}

}  // namespace rnnvae

#endif  // RNNVAE_JAX_OPS_NATIVE_STEPS_H_
