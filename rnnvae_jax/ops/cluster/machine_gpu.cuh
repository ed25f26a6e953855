// The machine of kernels.cuh on an NVIDIA GPU of compute capability 9.0.
#pragma once
#include <cuda_bf16.h>
#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#include "kernels.cuh"

struct Gpu {
  uint32_t base;  // of dynamic shared memory
  int rank_, cluster_;

  DEVICE Gpu(void* shared, int blocks)
      : base(static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
        cluster_(blockIdx.x / blocks) {
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank_));
  }

  DEVICE int thread() { return threadIdx.x; }
  DEVICE int rank() { return rank_; }  // of the block in its cluster
  DEVICE int cluster() { return cluster_; }

  DEVICE void sync_warp() { __syncwarp(); }
  DEVICE void sync_block() { __syncthreads(); }
  DEVICE void sync_cluster() {
    asm volatile(
        "fence.mbarrier_init.release.cluster;\n"
        "barrier.cluster.arrive.release.aligned;\n"
        "barrier.cluster.wait.acquire.aligned;" ::: "memory");
  }

  // Shared memory; `at` counts bytes.
  DEVICE void store(int at, uint32_t v) {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(base + at), "r"(v) : "memory");
  }
  DEVICE void load_words(int at, uint32_t* v) {
    asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];"
                 : "=r"(v[0]), "=r"(v[1]) : "r"(base + at));
  }
  DEVICE void load_quad(int at, uint32_t* v) {
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"(base + at) : "memory");
  }
  DEVICE void load_quad(int at, float* v) {
    asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3])
                 : "r"(base + at) : "memory");
  }
  // A left operand: two chunks of 16 rows, `stride` bytes apart.
  DEVICE void load_rows(int at, int stride, uint32_t* v) {
    const int lane = threadIdx.x & 31;
    asm volatile(
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
        : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
        : "r"(base + at + (lane >> 4) * stride + (lane & 15) * 16) : "memory");
  }

  // A word of an operand, from a kernel in memory or from one's own numbers.
  DEVICE uint32_t stored(Bfloat16, const uint16_t* p, int next) {
    return p[0] | static_cast<uint32_t>(p[next]) << 16;
  }
  DEVICE uint32_t stored(Tf32, const float* p, int) { return rounded(Tf32(), p); }
  DEVICE uint32_t rounded(Bfloat16, const float* v) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(v[0], v[1]);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
  DEVICE uint32_t rounded(Tf32, const float* v) {
    uint32_t word;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(v[0]));
    return word;
  }
  DEVICE void store_pair(Bfloat16, int at, const float* v) {
    store(at, rounded(Bfloat16(), v));
  }
  DEVICE void store_pair(Tf32, int at, const float* v) {
    asm volatile("st.shared.v2.u32 [%0], {%1,%2};" ::"r"(base + at),
                 "r"(rounded(Tf32(), v)), "r"(rounded(Tf32(), v + 1)) : "memory");
  }

  DEVICE void multiply(Bfloat16, float* c, const uint32_t* a, const uint32_t* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
  DEVICE void multiply(Tf32, float* c, const uint32_t* a, const uint32_t* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }

  // A barrier's phase ends when it has been told how many bytes to expect and
  // has received as many, in either order.
  DEVICE void init_barrier(int at) {
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(base + at) : "memory");
  }
  DEVICE void expect(int at, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(
                     base + at), "r"(bytes) : "memory");
  }
  DEVICE void wait(int at, uint32_t parity) {
    asm volatile(
        "{\n.reg .pred p;\n"
        "W%=: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%0], "
        "%1;\n@p bra D%=;\nbra W%=;\nD%=:\n}" ::"r"(base + at), "r"(parity)
        : "memory");
  }
  // 16 bytes to a block of the cluster, counted by its barrier.
  DEVICE void send(int peer, int at, const uint32_t* v, int barrier) {
    uint32_t to, counter;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                 : "=r"(to) : "r"(base + at), "r"(peer));
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                 : "=r"(counter) : "r"(base + barrier), "r"(peer));
    asm volatile(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 "
        "[%0], {%1,%2,%3,%4}, [%5];" ::"r"(to), "r"(v[0]), "r"(v[1]), "r"(v[2]),
        "r"(v[3]), "r"(counter) : "memory");
  }
  DEVICE void send(int peer, int at, const float* v, int barrier) {
    const uint32_t words[4] = {__float_as_uint(v[0]), __float_as_uint(v[1]),
                               __float_as_uint(v[2]), __float_as_uint(v[3])};
    send(peer, at, words, barrier);
  }

  // Memory.
  DEVICE void load2(const float* p, float* v) {
    const float2 t = __ldg(reinterpret_cast<const float2*>(p));
    v[0] = t.x, v[1] = t.y;
  }
  DEVICE void load4(const float* p, float* v) {
    const float4 t = __ldg(reinterpret_cast<const float4*>(p));
    v[0] = t.x, v[1] = t.y, v[2] = t.z, v[3] = t.w;
  }
  DEVICE void save2(float* p, float a, float b) {
    *reinterpret_cast<float2*>(p) = make_float2(a, b);
  }
  DEVICE void save4(float* p, const float* v) {
    *reinterpret_cast<float4*>(p) = make_float4(v[0], v[1], v[2], v[3]);
  }

  DEVICE float sigmoid(float x) { return __fdividef(1.f, 1.f + __expf(-x)); }
  DEVICE float tanh(float x) {
    return 1.f - __fdividef(2.f, 1.f + __expf(2.f * x));
  }
};
