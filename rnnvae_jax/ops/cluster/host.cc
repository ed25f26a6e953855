// XLA's custom call of the kernels. Without EMULATED it launches them on a GPU,
// through the driver; with it, it runs them on a CPU. It uses XLA's C interface
// alone, which is stable, and compiles in a second.
#include "xla/ffi/api/c_api.h"

#ifdef EMULATED
#include "machine_emulated.h"
#else
#include "driver.h"
#endif

#include <string>
#include <vector>

namespace {

#ifdef EMULATED
using Body = void (*)(emulated::Machine*);
thread_local const void* g_arguments;
template <class S>
void forward_body(emulated::Machine* m) {
  forward<S>(*m, *static_cast<const ForwardArguments*>(g_arguments));
}
template <class S>
void backward_body(emulated::Machine* m) {
  backward<S>(*m, *static_cast<const BackwardArguments*>(g_arguments));
}
#else
using Body = void*;
template <class S>
constexpr Body forward_body = nullptr;
template <class S>
constexpr Body backward_body = nullptr;
#endif

#ifndef SIZES
#define SIZES 64, 128, 256, 384, 512
#endif

// What a launch needs to know of a kernel.
struct Kernel {
  int lstm, backward, operand_bytes, size;
  int gates, states, coefficients, reads_mask;
  int blocks, threads, shared_bytes;
  Body body;
};

template <class Cell, class Operand, int H>
void add(std::vector<Kernel>& all, int lstm) {
  using S = Shape<Cell, Operand, H>;
  if constexpr (S::FITS) {
    Kernel k = {lstm, 0, S::BYTES, H, Cell::GATES, Cell::STATES,
                Cell::COEFFICIENTS, Cell::READS_MASK, S::BLOCKS, S::THREADS,
                S::FORWARD_BYTES, forward_body<S>};
    all.push_back(k);
    k.backward = 1, k.shared_bytes = S::BACKWARD_BYTES;
    k.body = backward_body<S>;
    all.push_back(k);
  }
}

template <int... H>
std::vector<Kernel> make_kernels() {
  std::vector<Kernel> all;
  (add<Gru, Bfloat16, H>(all, 0), ...);
  (add<Gru, Tf32, H>(all, 0), ...);
  (add<Lstm, Bfloat16, H>(all, 1), ...);
  (add<Lstm, Tf32, H>(all, 1), ...);
  return all;
}

XLA_FFI_Error* failure(const XLA_FFI_CallFrame* frame, const std::string& why) {
  const std::string message = "recurrent kernel: " + why;
  XLA_FFI_Error_Create_Args args = {};
  args.struct_size = XLA_FFI_Error_Create_Args_STRUCT_SIZE;
  args.message = message.c_str();
  args.errc = XLA_FFI_Error_Code_INTERNAL;
  return frame->api->XLA_FFI_Error_Create(&args);
}

// An int32 attribute; -1 if there is none.
int attribute(const XLA_FFI_CallFrame* frame, const std::string& name) {
  const XLA_FFI_Attrs& attrs = frame->attrs;
  for (int64_t i = 0; i < attrs.size; i++) {
    if (name != std::string(attrs.names[i]->ptr, attrs.names[i]->len)) continue;
    const auto* scalar = static_cast<const XLA_FFI_Scalar*>(attrs.attrs[i]);
    if (attrs.types[i] == XLA_FFI_AttrType_SCALAR &&
        scalar->dtype == XLA_FFI_DataType_S32)
      return *static_cast<const int32_t*>(scalar->value);
  }
  return -1;
}

// The arguments and results of a call, one after the other.
struct Buffers {
  void** list;
  int64_t number = 0;
  const XLA_FFI_Buffer& next() {
    return *static_cast<const XLA_FFI_Buffer*>(list[number++]);
  }
  template <class T>
  void next(T*& pointer) {
    pointer = static_cast<T*>(next().data);
  }
};

// Runs or launches a kernel; returns what went wrong, or nothing.
template <class Arguments>
std::string start(const XLA_FFI_CallFrame* frame, const Kernel& kernel,
                  Arguments& arguments) {
  const int clusters = (arguments.rows + ROWS - 1) / ROWS;
#ifdef EMULATED
  g_arguments = &arguments;
  for (int c = 0; c < clusters; c++) {
    const std::string error = emulated::run(c, kernel.blocks, kernel.threads,
                                            kernel.shared_bytes, kernel.body);
    if (!error.empty()) return error;
  }
  return "";
#else
  XLA_FFI_Stream_Get_Args get = {};
  get.struct_size = XLA_FFI_Stream_Get_Args_STRUCT_SIZE;
  get.ctx = frame->ctx;
  if (frame->api->XLA_FFI_Stream_Get(&get)) return "there is no stream";
  const std::string module = std::string(kernel.lstm ? "lstm" : "gru") +
                             (kernel.operand_bytes == 2 ? "_bfloat16" : "_tf32") +
                             "_" + std::to_string(kernel.size);
  return driver::kernels().launch(
      static_cast<driver::Stream>(get.stream), module,
      kernel.backward ? "backward_kernel" : "forward_kernel", clusters,
      kernel.blocks, kernel.threads, kernel.shared_bytes, &arguments,
      frame->stage != XLA_FFI_ExecutionStage_EXECUTE);
#endif
}

std::string call(const XLA_FFI_CallFrame* frame) {
  static const std::vector<Kernel> all = make_kernels<SIZES>();
  const int lstm = attribute(frame, "lstm");
  const int is_backward = attribute(frame, "backward");
  const int reverse = attribute(frame, "reverse");
  Buffers in{frame->args.args}, out{frame->rets.rets};
  if (frame->args.size < 2) return "too few arguments";
  // In both directions: float[T, B, .], and the recurrent kernel.
  const XLA_FFI_Buffer& first = in.next();
  const XLA_FFI_Buffer& weights = in.next();
  const int bytes = weights.dtype == XLA_FFI_DataType_BF16 ? 2 : 4;
  if (first.rank != 3 || weights.rank != 2) return "arguments of wrong rank";
  const int steps = first.dims[0], rows = first.dims[1], size = weights.dims[0];
  if (!steps || !rows) return "there is nothing to run";
  for (const Kernel& k : all) {
    if (k.lstm != lstm || k.backward != is_backward ||
        k.operand_bytes != bytes || k.size != size)
      continue;
    const int num_in = is_backward ? 2 + k.states + k.coefficients + k.reads_mask
                                   : 4 + k.states;
    const int num_out = is_backward ? 2 * k.states : k.states + 1;
    if (frame->args.size != num_in || frame->rets.size != num_out ||
        weights.dims[1] != k.gates * size)
      return "arguments of another cell";
    if (is_backward) {
      BackwardArguments a = {};
      a.d_outputs = static_cast<const float*>(first.data);
      a.kernel = weights.data;
      for (int s = 0; s < k.states; s++) in.next(a.d_after[s]);
      for (int n = 0; n < k.coefficients; n++) in.next(a.coefficients[n]);
      if (k.reads_mask) in.next(a.mask);
      for (int s = 0; s < k.states; s++) out.next(a.d_states[s]);
      for (int s = 0; s < k.states; s++) out.next(a.d_before[s]);
      a.steps = steps, a.rows = rows, a.reverse = reverse;
      return start(frame, k, a);
    }
    ForwardArguments a = {};
    a.gates = static_cast<const float*>(first.data);
    a.kernel = weights.data;
    in.next(a.bias);
    in.next(a.mask);
    for (int s = 0; s < k.states; s++) in.next(a.before[s]);
    for (int s = 0; s < k.states; s++) out.next(a.states[s]);
    out.next(a.active);
    a.steps = steps, a.rows = rows, a.reverse = reverse;
    return start(frame, k, a);
  }
  return "there is none for " + std::to_string(size) + " units";
}

}  // namespace

extern "C" XLA_FFI_Error* recurrent_kernel(XLA_FFI_CallFrame* frame) {
  if (frame->extension_start &&
      frame->extension_start->type == XLA_FFI_Extension_Metadata) {
    auto* metadata = reinterpret_cast<XLA_FFI_Metadata_Extension*>(
                         frame->extension_start)->metadata;
    metadata->api_version.major_version = XLA_FFI_API_MAJOR;
    metadata->api_version.minor_version = XLA_FFI_API_MINOR;
    // A launch depends on shapes and attributes alone: CUDA graphs may hold it.
    metadata->traits = XLA_FFI_HANDLER_TRAITS_COMMAND_BUFFER_COMPATIBLE;
    return nullptr;
  }
  const std::string error = call(frame);
  return error.empty() ? nullptr : failure(frame, error);
}

#ifndef EMULATED
extern "C" void add_kernels(const char* module, const char* ptx) {
  std::lock_guard<std::mutex> lock(driver::kernels().mutex);
  driver::kernels().ptx[module] = ptx;
}
#endif
