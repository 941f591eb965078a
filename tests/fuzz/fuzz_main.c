/* What libFuzzer calls; QA_FUZZ_TARGET names the function of fuzz.h. */
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    QA_FUZZ_TARGET(data, size);
    return 0;
}
