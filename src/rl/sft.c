/* Cross-entropy of demonstrations and its gradient (see sft.h). */
#include "rl/sft.h"

double qa_sft_loss(const double *log_pi, size_t n, double tokens) {
    double sum = 0.0;
    for (size_t t = 0; t < n; t++) {
        sum += log_pi[t];
    }
    return n == 0 ? 0.0 : -sum / tokens;
}

double qa_sft_token_gradient(double tokens) { return -1.0 / tokens; }
