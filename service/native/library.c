/* What the library says of itself. */

#include "common.h"

#ifndef SOURCE_HASH
#define SOURCE_HASH ""
#endif

/* Of the files in this folder, as setup.py computes it; library.py compares it with the files that are there. */
const char *source_hash(void) { return SOURCE_HASH; }

/* The vector instructions that the loops use on this processor. */
const char *instructions(void)
{
#if HAS_CLONES
    __builtin_cpu_init();
    return __builtin_cpu_supports("x86-64-v4") ? "AVX-512" : __builtin_cpu_supports("x86-64-v3") ? "AVX2" : "baseline";
#else
    return "baseline";
#endif
}
