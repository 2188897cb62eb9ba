/* dtype.h - element types of tensors, on files, hosts and devices. C11 and C++17. */
#ifndef VN_DTYPE_H
#define VN_DTYPE_H

#include <stddef.h>

enum vn_dtype { VN_F32, VN_F16, VN_BF16, VN_F64, VN_I64, VN_I32, VN_U16, VN_U8, VN_OTHER };

static inline size_t vn_dtype_size(enum vn_dtype t) {
    switch (t) {
    case VN_F64:
    case VN_I64: return 8;
    case VN_F32:
    case VN_I32: return 4;
    case VN_F16:
    case VN_BF16:
    case VN_U16: return 2;
    case VN_U8: return 1;
    default: return 0;
    }
}

#endif
