// Elements of k, v, y and their gradients: float, half or bfloat16, float32 inside.
//
// A lane reads one element of each row. A warp's row is then 128 bytes in float32 and 64
// bytes in the 16-bit types: whole sectors of memory in both cases, and one form of the
// kernels for all types. Halves are converted by hand, since the headers that know their
// types come with a CUDA toolkit that the users of the run-time compiler do not have.
#pragma once

#if !defined(RWKV_ELEMENT)
#define RWKV_ELEMENT 0
#endif

namespace rwkv {

#if RWKV_ELEMENT == 0

using Element = float;
RWKV_INLINE float float_from(Element x) { return x; }
RWKV_INLINE Element element_from(float x) { return x; }

#elif RWKV_ELEMENT == 1

using Element = unsigned short;

#if defined(__CUDA_ARCH__)
RWKV_INLINE float float_from(Element x) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x));
  return f;
}

RWKV_INLINE Element element_from(float x) {
  Element h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}
#else
RWKV_INLINE float float_from(Element x) {
  const int sign = int(x & 0x8000u) << 16;
  const int exponent = (x >> 10) & 31;
  const int mantissa = x & 0x3ff;
  if (exponent == 0) return float(mantissa) * 5.9604645e-8f * (sign ? -1.0f : 1.0f);
  if (exponent == 31) return float_of(sign | 0x7f800000 | mantissa << 13);
  return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

RWKV_INLINE Element element_from(float x) {
  const unsigned bits = unsigned(bits_of(x));
  const unsigned sign = bits >> 16 & 0x8000u;
  const float size = fabsf(x);
  if (!(size < 65520.0f)) return Element(sign | (x == x ? 0x7c00u : 0x7fffu));
  if (size < 6.1035156e-5f) return Element(sign | unsigned(rintf(size * 16777216.0f)));
  const unsigned rounded = (bits & 0x7fffffffu) + 0xfffu + (bits >> 13 & 1u);
  return Element(sign | ((rounded >> 13) - (112u << 10)));
}
#endif

#else

using Element = unsigned short;
RWKV_INLINE float float_from(Element x) { return float_of(int(unsigned(x) << 16)); }

RWKV_INLINE Element element_from(float x) {
  const unsigned bits = unsigned(bits_of(x));
  if (x != x) return Element(bits >> 16 | 0x40u);
  return Element((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#endif

}  // namespace rwkv
