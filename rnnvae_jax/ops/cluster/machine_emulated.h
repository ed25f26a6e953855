// The machine of kernels.cuh on a CPU: every thread of a cluster is a fibre,
// and a fibre that waits lets others run. Warps and lanes run in random order,
// some are held back, and what is sent arrives late and out of order, so that
// code which depends on luck fails. Shared memory starts as NaN.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>
#define DEVICE inline
#define UNROLL
#include "kernels.cuh"

namespace emulated {

struct Barrier {
  int pending = 1;  // arrivals
  long bytes = 0;   // expected less received
  uint32_t phase = 0;
  void check() {
    if (pending == 0 && bytes == 0) phase ^= 1, pending = 1;
  }
};
struct Warp {
  int arrived = 0;
  long generation = 0;
  uint32_t a[2][32][4], b[2][32][2];
  long count[32] = {};  // of each lane's products
};
struct Block {
  std::vector<char> shared;
  std::map<int, Barrier> barriers;
  std::vector<Warp> warps;
  int arrived = 0;
  long generation = 0;
};
struct Message {
  int peer, at, barrier;
  uint32_t words[4];
};
struct Cluster {
  int id, threads;  // number of the cluster; threads of a block
  std::vector<Block> blocks;
  std::vector<Message> sent;  // and not yet received
  std::string error;
  int arrived = 0;
  long generation = 0, moves = 0;
};
struct Fibre {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool begun = false, done = false;
};

inline float from_bfloat16(uint32_t u) {
  u <<= 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
// To nearest, ties to even (bfloat16) or away from zero (tf32), as the GPU does.
inline uint32_t to_bfloat16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return (u + 0x7fff + ((u >> 16) & 1)) >> 16;
}
inline uint32_t to_tf32(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return (u + 0x1000) & ~0x1fffu;
}

struct Machine {
  Cluster* c;
  int rank_, thread_;
  ucontext_t* scheduler;
  Fibre* fibre;

  int thread() { return thread_; }
  int rank() { return rank_; }
  int cluster() { return c->id; }

  Block& block() { return c->blocks[rank_]; }
  Warp& warp() { return block().warps[thread_ >> 5]; }
  void yield() { swapcontext(&fibre->context, scheduler); }
  void fail(const std::string& why) {
    c->error = why;
    for (;;) yield();  // The scheduler gives the cluster up.
  }
  template <class Group>
  void meet(Group& group, int members) {
    const long generation = group.generation;
    c->moves++;
    if (++group.arrived == members)
      group.arrived = 0, group.generation++;
    else
      while (group.generation == generation) yield();
  }
  void sync_warp() { meet(warp(), 32); }
  void sync_block() { meet(block(), c->threads); }
  void sync_cluster() { meet(*c, c->threads * (int)c->blocks.size()); }

  char* shared(int peer, int at, int bytes) {
    auto& memory = c->blocks[peer].shared;
    if (at < 0 || at + bytes > (int)memory.size() || at % bytes)
      fail("bad access to shared memory at " + std::to_string(at));
    return memory.data() + at;
  }
  void store(int at, uint32_t v) { memcpy(shared(rank_, at, 4), &v, 4); }
  void load_words(int at, uint32_t* v) { memcpy(v, shared(rank_, at, 8), 8); }
  template <class T>
  void load_quad(int at, T* v) {
    memcpy(v, shared(rank_, at, 16), 16);
  }
  void load_rows(int at, int stride, uint32_t* v) {
    sync_warp();
    for (int q = 0; q < 4; q++) {
      const int row = thread_ % 32 / 4 + q % 2 * 8;
      const char* from = shared(rank_, at + q / 2 * stride + row * 16, 16);
      memcpy(&v[q], from + thread_ % 4 * 4, 4);
    }
  }

  uint32_t stored(Bfloat16, const uint16_t* p, int next) {
    return p[0] | (uint32_t)p[next] << 16;
  }
  uint32_t stored(Tf32, const float* p, int) { return to_tf32(*p); }
  uint32_t rounded(Bfloat16, const float* v) {
    return to_bfloat16(v[0]) | to_bfloat16(v[1]) << 16;
  }
  uint32_t rounded(Tf32, const float* v) { return to_tf32(*v); }
  void store_pair(Bfloat16, int at, const float* v) {
    store(at, rounded(Bfloat16(), v));
  }
  void store_pair(Tf32, int at, const float* v) {
    shared(rank_, at, 8);
    store(at, to_tf32(v[0]));
    store(at + 4, to_tf32(v[1]));
  }

  static float dot(Bfloat16, uint32_t x, uint32_t y) {
    return from_bfloat16(x & 0xffff) * from_bfloat16(y & 0xffff) +
           from_bfloat16(x >> 16) * from_bfloat16(y >> 16);
  }
  static float dot(Tf32, uint32_t x, uint32_t y) {
    float a, b;
    memcpy(&a, &x, 4);
    memcpy(&b, &y, 4);
    return a * b;
  }
  template <class Operand>
  void multiply(Operand operand, float* sums, const uint32_t* a,
                const uint32_t* b) {
    Warp& w = warp();
    const int lane = thread_ & 31, turn = w.count[lane]++ & 1;
    memcpy(w.a[turn][lane], a, 16);
    memcpy(w.b[turn][lane], b, 8);
    sync_warp();
    for (int e = 0; e < 4; e++) {
      const int row = lane / 4 + 8 * (e / 2), column = lane % 4 * 2 + e % 2;
      float sum = 0;
      for (int word = 0; word < 8; word++)
        sum += dot(operand,
                   w.a[turn][row % 8 * 4 + word % 4][row / 8 + word / 4 * 2],
                   w.b[turn][column * 4 + word % 4][word / 4]);
      sums[e] += sum;
    }
  }

  void init_barrier(int at) { block().barriers[at] = Barrier(); }
  void expect(int at, int bytes) {
    Barrier& b = block().barriers.at(at);
    if (b.pending == 0) fail("a barrier was armed twice in a phase");
    b.bytes += bytes, b.pending--, c->moves++;
    b.check();
  }
  void wait(int at, uint32_t parity) {
    while (block().barriers.at(at).phase == parity) yield();
    c->moves++;
  }
  template <class T>
  void send(int peer, int at, const T* v, int barrier) {
    if (peer < 0 || peer >= (int)c->blocks.size()) fail("no such peer");
    shared(peer, at, 16);
    Message message{peer, at, barrier, {}};
    memcpy(message.words, v, 16);
    c->sent.push_back(message);
    c->moves++;
  }

  void load2(const float* p, float* v) { memcpy(v, p, 8); }
  void load4(const float* p, float* v) { memcpy(v, p, 16); }
  void save2(float* p, float a, float b) { p[0] = a, p[1] = b; }
  void save4(float* p, const float* v) { memcpy(p, v, 16); }

  float sigmoid(float x) { return 1.f / (1.f + std::exp(-x)); }
  float tanh(float x) { return std::tanh(x); }
};

inline void deliver(Cluster& c, size_t number) {
  const Message m = c.sent[number];
  c.sent[number] = c.sent.back();
  c.sent.pop_back();
  memcpy(c.blocks[m.peer].shared.data() + m.at, m.words, 16);
  Barrier& b = c.blocks[m.peer].barriers.at(m.barrier);
  b.bytes -= 16, c.moves++;
  b.check();
}

// What a new fibre runs: makecontext passes integers only.
thread_local void (*g_body)(Machine*);
thread_local Machine* g_machine;
inline void enter() {
  Machine* m = g_machine;
  g_body(m);
  m->fibre->done = true;
  for (;;) m->yield();
}

// Runs one cluster; returns what went wrong, or nothing. `body` calls the kernel.
inline std::string run(int id, int blocks, int threads, int bytes,
                       void (*body)(Machine*)) {
  const int total = blocks * threads, warps = total / 32;
  Cluster c{id, threads};
  c.blocks.resize(blocks);
  for (Block& b : c.blocks) {
    b.shared.assign(bytes, (char)0xff);
    b.warps.resize(threads / 32);
  }
  constexpr int STACK = 1 << 16;
  ucontext_t scheduler;
  std::vector<Fibre> fibres(total);
  std::vector<Machine> machines(total);
  for (int i = 0; i < total; i++) {
    Fibre& f = fibres[i];
    f.stack.reset(new char[STACK]);
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = STACK;
    f.context.uc_link = nullptr;
    makecontext(&f.context, enter, 0);
    machines[i] = {&c, i / threads, i % threads, &scheduler, &f};
  }
  std::minstd_rand random(id + 1);
  int left = total;
  for (int idle = 0; left; ) {
    const long before = c.moves;
    const int first = random() % warps;
    for (int i = 0; i < warps; i++) {
      if (random() % 4 == 0) continue;
      const int warp = (first + i) % warps, lane = random() % 32;
      for (int j = 0; j < 32; j++) {
        const int number = warp * 32 + (lane + j) % 32;
        Fibre& f = fibres[number];
        if (f.done) continue;
        g_body = body, g_machine = &machines[number];
        swapcontext(&scheduler, &f.context);
        if (!c.error.empty()) return c.error;
        if (f.done) left--, c.moves++;
      }
      // About half of what is under way arrives.
      for (size_t n = c.sent.size(); n--;)
        if (random() % 2) deliver(c, n);
    }
    idle = c.moves == before ? idle + 1 : 0;
    if (idle > 100) return std::to_string(left) + " threads wait forever";
  }
  return "";
}

}  // namespace emulated
