/* What the loops over pixels share. Each C file beside this one is compiled into the library inspyrenet_native.
 *
 * The functions are plain ones for ctypes. Only loops.py and coding.py call them: they check every array, and document every
 * function. arrays.py and coding_arrays.py have the same in NumPy, for where the library is missing (zlib is there for
 * deflate_block), and tests compare the results of both. So:
 *
 * - Products and sums are in the order of the NumPy code, except where that calls OpenCV (reduce, enlarge, unmix). A
 *   compiler must not fuse them (-ffp-contract=off).
 * - Nothing allocates: a loop's working memory is on the stack, or handed over.
 * - No function keeps a state. ctypes calls them without the interpreter's lock, in several threads at once.
 *
 * The loops are written so that compilers vectorise them: without branches, over short buffers that stay in the innermost
 * cache. On x86-64 with glibc, GCC 12 and later make three forms of each: for any processor, for AVX2 and for AVX-512. The
 * dynamic linker takes the best that the processor has. All give the same bits.
 */

#ifndef INSPYRENET_COMMON_H
#define INSPYRENET_COMMON_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__) && __GNUC__ >= 12
#define HAS_CLONES 1
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define HAS_CLONES 0
#define CLONES
#endif
#define LOOP CLONES static __attribute__((noinline)) /* a loop of its own, so that `restrict` holds for its arguments */
#define INLINE static inline __attribute__((always_inline))

enum { CHUNK = 256 }; /* pixels of a row that are worked on at once, so that everything is on the stack */

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE float least(float a, float b) { return a < b ? a : b; }
INLINE float most(float a, float b) { return a > b ? a : b; }

/* The nearest level from 0 to 255, a tie to the even one. Adding 1.5 * 2^23 leaves the integer in the lowest bits. */
INLINE uint8_t level(float value)
{
    union { float number; uint32_t bits; } rounded = {least(most(value, 0.0f), 255.0f) + 12582912.0f};
    return (uint8_t)rounded.bits;
}

/* A pixel lies between two cells, and as far behind the first as `share` says. */
INLINE void between(float position, int64_t cells, int32_t *first, int32_t *second, float *share)
{
    position = least(most(position, 0.0f), (float)(cells - 1));
    *first = (int32_t)position;
    *second = (int32_t)smaller(*first + 1, cells - 1);
    *share = position - (float)*first;
}

/* The same middles: a cell covers 1 / `scale` pixels. */
INLINE float by_middles(int64_t pixel, float scale) { return ((float)pixel + 0.5f) * scale - 0.5f; }

#endif
