#pragma once

// For kernels: one body, compiled for several instruction sets, of which the loader picks one. Not under sanitizers:
// the resolver runs before they are ready.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define CKPT_VECTOR_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define CKPT_VECTOR_CLONES
#endif
