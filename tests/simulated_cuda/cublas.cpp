// cuBLAS, implemented with plain loops. As in cuBLAS, matrices are stored column by column.
#include "device.h"

#include <cstdint>
#include <vector>

namespace {

enum { CUBLAS_SUCCESS = 0, CUBLAS_INVALID_VALUE = 7, CUBLAS_NOT_SUPPORTED = 15, CUBLAS_EXECUTION_FAILED = 13 };
enum { PLAIN = 0, TRANSPOSED = 1 };
enum { FLOAT = 0, DOUBLE = 1 };

struct Handle {
  void *stream = nullptr;
  int pointer_mode = 0, math_mode = 0;
};

template <class T>
struct Product {
  int transposed_a, transposed_b, m, n, k;
  T alpha;
  const T *a;
  int lda;
  long long stride_a;
  const T *b;
  int ldb;
  long long stride_b;
  T beta;
  T *c;
  int ldc;
  long long stride_c;
  int batch;
};

template <class T>
void multiply(void *data) {
  const auto &p = *static_cast<Product<T> *>(data);
  std::vector<T> column(p.m);
  for (int i = 0; i < p.batch; i++) {
    const T *a = p.a + i * p.stride_a, *b = p.b + i * p.stride_b;
    T *c = p.c + i * p.stride_c;
    for (int col = 0; col < p.n; col++) {
      for (int row = 0; row < p.m; row++) column[row] = 0;
      for (int l = 0; l < p.k; l++) {
        T factor = p.transposed_b ? b[col + size_t(l) * p.ldb] : b[l + size_t(col) * p.ldb];
        if (p.transposed_a)
          for (int row = 0; row < p.m; row++) column[row] += a[l + size_t(row) * p.lda] * factor;
        else
          for (int row = 0; row < p.m; row++) column[row] += a[row + size_t(l) * p.lda] * factor;
      }
      for (int row = 0; row < p.m; row++) {
        T &target = c[row + size_t(col) * p.ldc];
        target = p.alpha * column[row] + (p.beta == 0 ? 0 : p.beta * target);  // with beta 0 the target is not read
      }
    }
  }
}

template <class T>
int run(Handle *handle, Product<T> product) {
  if (product.m < 0 || product.n < 0 || product.k < 0 || handle->pointer_mode != 0) return CUBLAS_INVALID_VALUE;
  simulated_count_product();
  return simulated_execute(multiply<T>, &product) == SUCCESS ? CUBLAS_SUCCESS : CUBLAS_EXECUTION_FAILED;
}

template <class T>
int run(Handle *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int lda, long long sa,
        const void *b, int ldb, long long sb, const void *beta, void *c, int ldc, long long sc, int batch) {
  auto number = [](const void *p) { return *static_cast<const T *>(p); };
  return run<T>(handle, Product<T>{ta != PLAIN, tb != PLAIN, m, n, k, number(alpha), static_cast<const T *>(a), lda, sa,
                                   static_cast<const T *>(b), ldb, sb, number(beta), static_cast<T *>(c), ldc, sc, batch});
}

}  // namespace

extern "C" {

int cublasCreate_v2(Handle **handle) { *handle = new Handle; return CUBLAS_SUCCESS; }
int cublasDestroy_v2(Handle *handle) { delete handle; return CUBLAS_SUCCESS; }
int cublasGetVersion_v2(Handle *, int *version) { *version = 130000; return CUBLAS_SUCCESS; }
int cublasSetStream_v2(Handle *handle, void *stream) { handle->stream = stream; return CUBLAS_SUCCESS; }
int cublasGetStream_v2(Handle *handle, void **stream) { *stream = handle->stream; return CUBLAS_SUCCESS; }
int cublasSetPointerMode_v2(Handle *handle, int mode) { handle->pointer_mode = mode; return CUBLAS_SUCCESS; }
int cublasGetPointerMode_v2(Handle *handle, int *mode) { *mode = handle->pointer_mode; return CUBLAS_SUCCESS; }
int cublasSetMathMode(Handle *handle, int mode) { handle->math_mode = mode; return CUBLAS_SUCCESS; }
int cublasGetMathMode(Handle *handle, int *mode) { *mode = handle->math_mode; return CUBLAS_SUCCESS; }
int cublasSetWorkspace_v2(Handle *, void *, size_t) { return CUBLAS_SUCCESS; }

#define PRODUCTS(letter, T) \
  int cublas##letter##gemm_v2(Handle *handle, int ta, int tb, int m, int n, int k, const T *alpha, const T *a, \
                              int lda, const T *b, int ldb, const T *beta, T *c, int ldc) { \
    return run<T>(handle, ta, tb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1); \
  } \
  int cublas##letter##gemmStridedBatched(Handle *handle, int ta, int tb, int m, int n, int k, const T *alpha, \
                                         const T *a, int lda, long long sa, const T *b, int ldb, long long sb, \
                                         const T *beta, T *c, int ldc, long long sc, int batch) { \
    return run<T>(handle, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, batch); \
  } \
  int cublas##letter##gemv_v2(Handle *handle, int ta, int m, int n, const T *alpha, const T *a, int lda, \
                              const T *x, int incx, const T *beta, T *y, int incy) { \
    int rows = ta ? n : m, inner = ta ? m : n; \
    if (incy != 1) return CUBLAS_NOT_SUPPORTED; \
    return run<T>(handle, ta, TRANSPOSED, rows, 1, inner, alpha, a, lda, 0, x, incx, 0, beta, y, rows, 0, 1); \
  } \
  int cublas##letter##dot_v2(Handle *handle, int n, const T *x, int incx, const T *y, int incy, T *result) { \
    T one = 1, zero = 0; \
    handle->pointer_mode = 0; \
    return run<T>(handle, PLAIN, TRANSPOSED, 1, 1, n, &one, x, incx, 0, y, incy, 0, &zero, result, 1, 0, 1); \
  }
PRODUCTS(S, float)
PRODUCTS(D, double)

int cublasGemmStridedBatchedEx(Handle *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a,
                               int type_a, int lda, long long sa, const void *b, int type_b, int ldb, long long sb,
                               const void *beta, void *c, int type_c, int ldc, long long sc, int batch, int, int) {
  if (type_a != type_b || type_a != type_c) return CUBLAS_NOT_SUPPORTED;
  if (type_a == FLOAT)
    return run<float>(handle, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, batch);
  if (type_a == DOUBLE)
    return run<double>(handle, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, batch);
  return CUBLAS_NOT_SUPPORTED;
}
int cublasGemmEx(Handle *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int type_a,
                 int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c, int ldc,
                 int compute, int algorithm) {
  return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c,
                                    type_c, ldc, 0, 1, compute, algorithm);
}

}  // extern "C"
