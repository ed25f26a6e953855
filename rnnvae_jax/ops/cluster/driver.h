// The few functions of NVIDIA's driver that launching a kernel takes, declared
// here so that building needs neither CUDA's headers nor its libraries.
#pragma once
#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>

// The kernels' shapes and arguments, without code for a machine.
#define DEVICE inline
#define UNROLL
#include "kernels.cuh"

namespace driver {

using Result = int;  // 0: success
using Context = struct CUctx_st*;
using Module = struct CUmod_st*;
using Function = struct CUfunc_st*;
using Stream = struct CUstream_st*;

struct Attribute {
  int id;
  char pad[4];
  union {
    char bytes[64];
    struct {
      unsigned x, y, z;
    } cluster;
  } value;
};
struct Config {
  unsigned grid[3], block[3], shared_bytes;
  Stream stream;
  Attribute* attributes;
  unsigned num_attributes;
};
constexpr int CLUSTER_DIMENSION = 4;          // of an Attribute
constexpr int MAX_DYNAMIC_SHARED_BYTES = 8;   // of a function
constexpr int NON_PORTABLE_CLUSTER_SIZE = 14;  // of a function

struct Library {
  Result (*GetErrorString)(Result, const char**);
  Result (*StreamGetCtx)(Stream, Context*);
  Result (*CtxPushCurrent)(Context);
  Result (*CtxPopCurrent)(Context*);
  Result (*ModuleLoadData)(Module*, const void*);
  Result (*ModuleGetFunction)(Function*, Module, const char*);
  Result (*FuncSetAttribute)(Function, int, int);
  Result (*LaunchKernelEx)(const Config*, Function, void**, void**);
  std::string error;

  Library() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
      error = "there is no NVIDIA driver (libcuda.so.1)";
      return;
    }
    const auto get = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(
          dlsym(library, name));
      if (!function) error = std::string("the NVIDIA driver has no ") + name;
    };
    get(GetErrorString, "cuGetErrorString");
    get(StreamGetCtx, "cuStreamGetCtx");
    get(CtxPushCurrent, "cuCtxPushCurrent_v2");
    get(CtxPopCurrent, "cuCtxPopCurrent_v2");
    get(ModuleLoadData, "cuModuleLoadData");
    get(ModuleGetFunction, "cuModuleGetFunction");
    get(FuncSetAttribute, "cuFuncSetAttribute");
    get(LaunchKernelEx, "cuLaunchKernelEx");
  }
  std::string message(const char* what, Result result) {
    const char* text = nullptr;
    GetErrorString(result, &text);
    return std::string(what) + ": " + (text ? text : "unknown error");
  }
};

// PTX by its name, and the functions that it became in a context.
struct Kernels {
  Library driver;
  std::mutex mutex;
  std::map<std::string, std::string> ptx;
  std::map<std::pair<Context, std::string>, Function> functions;

  // Returns what went wrong, or nothing.
  std::string load(Context context, const std::string& module,
                   const char* name, int blocks, int shared_bytes,
                   Function* function) {
    std::lock_guard<std::mutex> lock(mutex);
    Function& known = functions[{context, module + name}];
    if (!known) {
      if (!ptx.count(module)) return "no kernels are registered for " + module;
      Module loaded;
      Function found;
      if (Result r = driver.ModuleLoadData(&loaded, ptx[module].c_str()))
        return driver.message("loading the kernels", r);
      if (Result r = driver.ModuleGetFunction(&found, loaded, name))
        return driver.message(name, r);
      if (Result r = driver.FuncSetAttribute(found, MAX_DYNAMIC_SHARED_BYTES,
                                             shared_bytes))
        return driver.message("asking for shared memory", r);
      if (blocks > 8)
        if (Result r =
                driver.FuncSetAttribute(found, NON_PORTABLE_CLUSTER_SIZE, 1))
          return driver.message("asking for a cluster of 16 blocks", r);
      known = found;
    }
    *function = known;
    return "";
  }

  std::string launch(Stream stream, const std::string& module, const char* name,
                     int clusters, int blocks, int threads, int shared_bytes,
                     void* arguments, bool only_load) {
    if (!driver.error.empty()) return driver.error;
    Context context;
    if (Result r = driver.StreamGetCtx(stream, &context))
      return driver.message("finding the stream's context", r);
    driver.CtxPushCurrent(context);
    Function function = nullptr;
    std::string error =
        load(context, module, name, blocks, shared_bytes, &function);
    if (error.empty() && !only_load) {
      Attribute attribute = {};
      attribute.id = CLUSTER_DIMENSION;
      attribute.value.cluster = {static_cast<unsigned>(blocks), 1, 1};
      const Config config = {
          {static_cast<unsigned>(clusters * blocks), 1, 1},
          {static_cast<unsigned>(threads), 1, 1},
          static_cast<unsigned>(shared_bytes), stream, &attribute, 1};
      void* parameters[] = {arguments};
      if (Result r =
              driver.LaunchKernelEx(&config, function, parameters, nullptr))
        error = driver.message("launching the kernel", r);
    }
    driver.CtxPopCurrent(&context);
    return error;
  }
};

inline Kernels& kernels() {
  static Kernels all;
  return all;
}

}  // namespace driver
