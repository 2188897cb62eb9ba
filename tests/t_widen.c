/* Every half and every bfloat16 becomes the float that num.h says, whatever the vectors. */
#include <math.h>

#include "check.h"
#include "cpu.h"
#include "num.h"

static void all_values(void) {
    static uint16_t h[65536 + 8];
    static float y[65536 + 8];
    for (int k = 0; vn_cpu_kernels_at(k); k++)
        for (int at = 0; at < 3; at++) /* also where nothing is aligned, and a short end */
            for (int half = 0; half < 2; half++) {
                int n = 65536 - 5 * at, wrong = 0;
                for (int i = 0; i < n; i++)
                    h[at + i] = (uint16_t)i;
                memset(y, 0xee, sizeof y);
                y[at + n] = 42;
                vn_cpu_kernels_at(k)->widen(h + at, half ? VN_F16 : VN_BF16, y + at, n);
                for (int i = 0; i < n; i++) {
                    float w = half ? vn_f16_to_f32((uint16_t)i) : vn_bf16_to_f32((uint16_t)i);
                    wrong += isnan(w) ? !isnan(y[at + i]) : memcmp(&w, &y[at + i], 4) != 0;
                }
                CHECK_INT(wrong, 0);
                CHECK(y[at + n] == 42);
            }
}

int main(void) {
    TEST(all_values);
    return check_done();
}
