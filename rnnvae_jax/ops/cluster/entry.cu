// The kernels of one cell, precision and size: CELL, OPERAND, SIZE.
#include <cstdint>
#include "machine_gpu.cuh"

using S = Shape<CELL, OPERAND, SIZE>;
static_assert(S::FITS, "the weights do not fit on chip");

extern "C" __global__ void __launch_bounds__(S::THREADS, 1)
    forward_kernel(const ForwardArguments arguments) {
  extern __shared__ __align__(128) char shared[];
  Gpu m(shared, S::BLOCKS);
  forward<S>(m, arguments);
}

extern "C" __global__ void __launch_bounds__(S::THREADS, 1)
    backward_kernel(const BackwardArguments arguments) {
  extern __shared__ __align__(128) char shared[];
  Gpu m(shared, S::BLOCKS);
  backward<S>(m, arguments);
}
