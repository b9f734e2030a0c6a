// Sorting. CuPy's wheel contains it in a separate module (cupy.cuda.thrust), compiled for NVIDIA's devices.
#include "device.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace {

// CuPy's dtype numbers (type_dispatcher.cuh).
enum { INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64, FLOAT16, FLOAT32, FLOAT64 };

struct Rows {
  void *values;
  size_t *positions;  // nullptr if the values themselves are sorted
  size_t n_rows, length;
};

template <class T>
bool before(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (std::isnan(b)) return !std::isnan(a);  // nan comes last
  return a < b;
}

template <class T>
void sort_rows(void *data) {
  const auto &rows = *static_cast<Rows *>(data);
  for (size_t row = 0; row < rows.n_rows; row++) {
    T *values = static_cast<T *>(rows.values) + row * rows.length;
    if (!rows.positions) {
      std::stable_sort(values, values + rows.length, before<T>);
      continue;
    }
    size_t *positions = rows.positions + row * rows.length;
    for (size_t i = 0; i < rows.length; i++) positions[i] = i;
    std::stable_sort(positions, positions + rows.length,
                     [values](size_t a, size_t b) { return before(values[a], values[b]); });
  }
}

void sort(int dtype, void *values, size_t *positions, const std::vector<ptrdiff_t> &shape) {
  Rows rows{values, positions, 1, static_cast<size_t>(shape.back())};
  for (size_t i = 0; i + 1 < shape.size(); i++) rows.n_rows *= shape[i];
  switch (dtype) {
    case INT8: simulated_execute(sort_rows<int8_t>, &rows); return;
    case UINT8: simulated_execute(sort_rows<uint8_t>, &rows); return;
    case INT16: simulated_execute(sort_rows<int16_t>, &rows); return;
    case UINT16: simulated_execute(sort_rows<uint16_t>, &rows); return;
    case INT32: simulated_execute(sort_rows<int32_t>, &rows); return;
    case UINT32: simulated_execute(sort_rows<uint32_t>, &rows); return;
    case INT64: simulated_execute(sort_rows<int64_t>, &rows); return;
    case UINT64: simulated_execute(sort_rows<uint64_t>, &rows); return;
    case FLOAT32: simulated_execute(sort_rows<float>, &rows); return;
    case FLOAT64: simulated_execute(sort_rows<double>, &rows); return;
    default: throw std::runtime_error("the simulated CUDA device does not sort this dtype");
  }
}

}  // namespace

// As declared in CuPy's cupy_thrust.cu; each row along the last axis is sorted.
void thrust_sort(int dtype, void *values, size_t *, const std::vector<ptrdiff_t> &shape, intptr_t, void *) {
  sort(dtype, values, nullptr, shape);
}
void thrust_argsort(int dtype, size_t *positions, void *values, void *, const std::vector<ptrdiff_t> &shape, intptr_t,
                    void *) {
  sort(dtype, values, positions, shape);
}
void thrust_lexsort(int, size_t *, void *, size_t, size_t, intptr_t, void *) {
  throw std::runtime_error("the simulated CUDA device has no lexsort");
}
