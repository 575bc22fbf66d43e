/* The C face of the kernels: pointers, sizes, thread counts, return codes.
 *
 * Knows neither Python nor torch. All arrays are float32, contiguous, of the
 * shapes written beside them (row-major); the caller has checked them. Bi-WKV is,
 * per channel, with decay w and bonus u that are divided by the token count already,
 *
 *   y[t] = sum_i weight[t][i] * v[i] / sum_i weight[t][i]
 *   weight[t][i] = exp(k[i] - (|t - i| - 1) * w)   for i != t
 *   weight[t][t] = exp(k[t] + u)
 *
 * A NaN in k or v makes its channel of its image NaN, in all tokens, and no other.
 * Functions may be called from several threads at once. No function throws.
 */
#ifndef RWKV_KERNELS_H
#define RWKV_KERNELS_H

#include <stdint.h>

#if defined(_WIN32)
#define RWKV_API __declspec(dllexport)
#else
#define RWKV_API __attribute__((visibility("default")))
#endif

/* Raised with every change of a signature or of the layout of `states`. */
#define RWKV_ABI_VERSION 4

enum {
  RWKV_OK = 0,
  RWKV_BAD_ARGUMENT = 1,  /* a size below 1, or a null pointer */
  RWKV_OUT_OF_MEMORY = 2, /* scratch memory cannot be had; outputs are undefined */
  RWKV_NOT_SUPPORTED = 3  /* this machine lacks the instruction set asked for */
};

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface; a caller refuses a library of another version. */
RWKV_API int rwkv_abi_version(void);

/* Name of the instruction set in use: "avx512", "avx2" or "baseline". */
RWKV_API const char* rwkv_instruction_set(void);

/* Use another instruction set from now on, for tests and comparisons. */
RWKV_API int rwkv_use_instruction_set(const char* name);

/* Rows R of `states` for sequences of `tokens` tokens. */
RWKV_API int64_t rwkv_state_rows(int64_t tokens);

/* Mix every token with all others.
 *
 * w, u (C,); k, v, y (B, T, C); states (B, R, C), written, kept for the backward call.
 * threads: most threads to use, the caller's own included.
 */
RWKV_API int rwkv_bi_wkv_forward(int64_t batch, int64_t tokens, int64_t channels, const float* w,
                                 const float* u, const float* k, const float* v, float* y,
                                 float* states, int threads);

/* Gradients of a loss by w, u, k and v, given its gradient gy by y.
 *
 * y and states are those that the forward call wrote for the same w, u, k, v.
 * gy, dk, dv (B, T, C); dw, du (C,), summed over the batch in a fixed order.
 */
RWKV_API int rwkv_bi_wkv_backward(int64_t batch, int64_t tokens, int64_t channels, const float* w,
                                  const float* u, const float* k, const float* v, const float* y,
                                  const float* states, const float* gy, float* dw, float* du,
                                  float* dk, float* dv, int threads);

/* ---- Reading points of maps: deformable attention ----
 *
 * Every query and head reads `points` places on each of `levels` maps, bilinearly, and sums
 * what it reads with weights that are the softmax of its scores. A map's tokens lie in one
 * row, row by row, the levels one after another. What lies outside a map is zero.
 */
typedef struct {
  int64_t batch;         /* B */
  int64_t queries;       /* Q */
  int64_t tokens;        /* N, of all levels */
  int64_t heads;         /* H */
  int64_t length;        /* D, channels of a head */
  int64_t levels;        /* L */
  int64_t points;        /* P; L * P is at most 128 */
  const int64_t* grids;  /* (L, 2): height and width in tokens */
  const float* values;   /* (B, N, H, D) */
  const float* places;   /* (Q, 2): (x, y) of the queries; -1 and 1 are a map's outer edges */
  const float* offsets;  /* (B, Q, H, L, P, 2): (x, y) from there, in tokens of the level */
  const float* scores;   /* (B, Q, H, L, P) */
} rwkv_points;

/* read (B, Q, H, D), written. */
RWKV_API int rwkv_read_points(const rwkv_points* points, float* read, int threads);

/* Gradients by values, offsets and scores (written), given that by what was read. */
RWKV_API int rwkv_read_points_backward(const rwkv_points* points, const float* by_read,
                                       float* by_values, float* by_offsets, float* by_scores,
                                       int threads);

/* ---- Depthwise convolutions: the gradient by the kernel ----
 *
 *   by_kernel[i][j][c] = sum over b, y, x of by_filtered[b][y][x][c] *
 *                        maps[b][y * stride + i - K / 2][x * stride + j - K / 2][c]
 *
 * Maps are zero outside. Y is ceil(H / stride), X is ceil(W / stride).
 */
#define RWKV_DEPTHWISE_CHANNELS 16 /* by_kernel has C rounded up to a multiple of this */
#define RWKV_DEPTHWISE_SIDE 9      /* the longest */

typedef struct {
  int64_t batch;           /* B */
  int64_t height, width;   /* H, W: of the maps */
  int64_t rows, columns;   /* Y, X: of what was filtered */
  int64_t channels;        /* C */
  int64_t side, stride;    /* of the kernel, its side K odd, and not shorter than the stride */
  int64_t is_bfloat16;     /* of both arrays: 1, or 0 for float32 */
  const void* maps;        /* (B, H, W, C) */
  const void* by_filtered; /* (B, Y, X, C) */
} rwkv_depthwise;

/* by_kernel (K, K, C rounded up), written; the same for any number of threads. */
RWKV_API int rwkv_depthwise_by_kernel(const rwkv_depthwise* call, float* by_kernel, int threads);

#ifdef __cplusplus
}
#endif

#endif
